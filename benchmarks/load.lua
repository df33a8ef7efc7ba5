-- wrk --script load.lua ADDRESS -- FILE LIST GET CREATE
-- Sends requests, each drawn at random from the file, and prints the result as JSON. LIST, GET and CREATE are percentages.
-- A line of the file is kind, path, token and body, separated by tabs. The random numbers are the same in each run.

local kinds, shares, random = { "list", "get", "create" }, {}, math.random

function init(arguments)
  local requests = { list = {}, get = {}, create = {} }
  for line in io.lines(arguments[1]) do
    local kind, path, token, body = line:match("^(.-)\t(.-)\t(.-)\t(.*)$")
    local headers = { ["Authorization"] = "Bearer " .. token }
    if body == "" then
      table.insert(requests[kind], wrk.format("GET", path, headers))
    else
      headers["Content-Type"] = "application/json"
      table.insert(requests[kind], wrk.format("POST", path, headers, body))
    end
  end
  for place, kind in ipairs(kinds) do
    for _ = 1, tonumber(arguments[place + 1]) do
      table.insert(shares, requests[kind])
    end
  end
end

function request()
  local requests = shares[random(100)]
  return requests[random(#requests)]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "microseconds": %d, "p99": %d, "status": %d, "socket": %d, "timeout": %d}\n',
    summary.requests, summary.duration, latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
