-- Sends one workload, each request drawn from those of a file, and prints what came of it as JSON.
-- wrk --script load.lua ADDRESS -- FILE LIST GET CREATE: the file's lines are kind, path, token, the tag for
-- If-None-Match and body, separated by tabs; the numbers are percent.

local kinds = { "list", "get", "create" }
local draw = {}
local random = math.random

function init(arguments)
  local requests = { list = {}, get = {}, create = {} }
  for line in io.lines(arguments[1]) do
    local kind, path, token, tag, body = line:match("^(.-)\t(.-)\t(.-)\t(.-)\t(.*)$")
    local headers = { ["Authorization"] = "Bearer " .. token, ["If-None-Match"] = tag ~= "" and tag or nil }
    local method = "GET"
    if kind == "create" then
      method = "POST"
      headers["Content-Type"] = "application/json"
    end
    table.insert(requests[kind], wrk.format(method, path, headers, body ~= "" and body or nil))
  end
  for place, kind in ipairs(kinds) do
    for _ = 1, tonumber(arguments[place + 1]) do
      table.insert(draw, requests[kind])
    end
  end
end

function request()
  local choice = draw[random(100)]
  return choice[random(#choice)]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "status": %d, "socket": %d, "timeout": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
