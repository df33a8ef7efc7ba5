// The same API with Fastify, @fastify/jwt and postgres.js, written as in their documentation.
import cluster from 'node:cluster'
import jwt from '@fastify/jwt'
import Fastify from 'fastify'
import postgres from 'postgres'

const { DATABASE_URL, DATABASE_POOL_SIZE, JWT_SECRET, PORT, WEB_CONCURRENCY } = process.env

const nullable = (schema) => ({ ...schema, type: [schema.type, 'null'] })
const priorities = ['low', 'medium', 'high']
const dateTime = { type: 'string', format: 'date-time' }

const taskSchema = {
  type: 'object',
  properties: {
    id: { type: 'string' },
    user_id: { type: 'string' },
    title: { type: 'string' },
    description: { type: 'string', nullable: true },
    completed: { type: 'boolean' },
    priority: { type: 'string', nullable: true },
    due_date: { ...dateTime, nullable: true },
    created_at: dateTime,
    updated_at: dateTime,
    revision: { type: 'integer' }
  }
}
const newTaskSchema = {
  type: 'object',
  required: ['title'],
  additionalProperties: false,
  properties: {
    title: { type: 'string', minLength: 1, maxLength: 200, pattern: '\\S' },
    description: { ...nullable({ type: 'string' }), maxLength: 1000, default: null },
    priority: { ...nullable({ type: 'string' }), enum: [...priorities, null], default: null },
    due_date: { ...nullable(dateTime), default: null }
  }
}
const pathSchema = { type: 'object', properties: { id: { type: 'string', format: 'uuid' } } }

function build () {
  const sql = postgres(DATABASE_URL, { max: Number(DATABASE_POOL_SIZE) })
  const columns = sql`id, user_id, title, description, completed, priority, due_date, created_at, updated_at, revision`
  const app = Fastify({ logger: false })

  app.register(jwt, { secret: JWT_SECRET, verify: { algorithms: ['HS256'], cache: true } })
  app.addHook('onRequest', async (request) => { await request.jwtVerify() })

  app.get('/api/tasks', { schema: { response: { 200: { type: 'array', items: taskSchema } } } }, async (request) => {
    return sql`
      SELECT ${columns} FROM peer_tasks WHERE user_id = ${request.user.sub}
      ORDER BY created_at DESC, id DESC LIMIT 1000`
  })

  app.get('/api/tasks/:id', { schema: { params: pathSchema, response: { 200: taskSchema } } }, async (request, reply) => {
    const [task] = await sql`
      SELECT ${columns} FROM peer_tasks WHERE id = ${request.params.id} AND user_id = ${request.user.sub}`
    return task ?? reply.code(404).send({ message: 'no such task' })
  })

  app.post('/api/tasks', { schema: { body: newTaskSchema, response: { 201: taskSchema } } }, async (request, reply) => {
    const { title, description, priority, due_date: dueDate } = request.body
    const [task] = await sql`
      INSERT INTO peer_tasks (user_id, title, description, priority, due_date)
      VALUES (${request.user.sub}, ${title.trim()}, ${description}, ${priority}, ${dueDate})
      RETURNING ${columns}`
    return reply.code(201).header('location', `/api/tasks/${task.id}`).send(task)
  })
  return app
}

if (cluster.isPrimary && Number(WEB_CONCURRENCY) > 1) {
  for (let i = 0; i < Number(WEB_CONCURRENCY); i++) cluster.fork()
} else {
  await build().listen({ host: '127.0.0.1', port: Number(PORT) })
}
