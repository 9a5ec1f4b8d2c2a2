/** JSON as UTF-8 text, as it is or checked by any Standard Schema validator (Zod, Valibot, ArkType…). */
import type { StandardSchemaV1 } from '@standard-schema/spec'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { JsonShapes } from './json-shape.ts'
import { serdeFailed } from './primitives.ts'
import type { Serde } from './serde.ts'

export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue }

const issuesShown = 3
/** Shapes are kept for so many topics; keys and values of a topic share them. */
const topicsMax = 1_000

const shapesOf = new Map<string, JsonShapes>()
let lastTopic: string | null = null
let lastShapes = new JsonShapes()

function parse(from: Buffer, start: number, end: number, topic: string): unknown {
  if (topic !== lastTopic) {
    let shapes = shapesOf.get(topic)
    if (shapes === undefined) {
      if (shapesOf.size >= topicsMax) shapesOf.clear()
      shapes = new JsonShapes()
      shapesOf.set(topic, shapes)
    }
    lastTopic = topic
    lastShapes = shapes
  }
  const shapes = lastShapes
  const read = shapes.read(from, start, end)
  if (read !== undefined) return read
  let value: unknown
  try {
    value = JSON.parse(from.toString('utf8', start, end))
  } catch (cause) {
    throw serdeFailed(`json: ${(cause as Error).message}`, cause)
  }
  shapes.missed(from, start, end)
  return value
}

function stringify(value: unknown): string {
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (cause) {
    throw serdeFailed(`json: the value can't be written: ${(cause as Error).message}`, cause)
  }
  if (text === undefined) throw serdeFailed(`json: ${typeof value} can't be written as JSON`)
  return text
}

function accept<T>(result: StandardSchemaV1.Result<T>, vendor: string): T {
  if (result.issues === undefined) return result.value
  const shown = result.issues.slice(0, issuesShown).map((issue) => {
    const path = (issue.path ?? [])
      .map((part) => String(typeof part === 'object' ? part.key : part))
      .join('.')
    return path === '' ? issue.message : `${path}: ${issue.message}`
  })
  const rest = result.issues.length - shown.length
  throw serdeFailed(
    `json: refused by the ${vendor} schema: ${shown.join('; ')}${rest > 0 ? `; and ${rest} more` : ''}`,
  )
}

const plain: Serde<unknown> = {
  name: 'json',
  immediate: true,
  write(value, to) {
    to.utf8(stringify(value))
  },
  read: parse,
}

/**
 * JSON. With a schema the type is the schema's, and what it refuses goes to the deserialisation handler; without one
 * the type is what you say it is, unchecked.
 */
export function json<Schema extends StandardSchemaV1>(
  schema: Schema,
): Serde<StandardSchemaV1.InferOutput<Schema>>
export function json<T = JsonValue>(): Serde<T>
export function json(schema?: StandardSchemaV1): Serde<unknown> {
  if (schema === undefined) return plain
  const { validate, vendor } = schema['~standard']
  return {
    name: 'json',
    write: plain.write,
    read(from, start, end, topic): MaybePromise<unknown> {
      const result = validate(parse(from, start, end, topic))
      return isPromise(result)
        ? (result as Promise<StandardSchemaV1.Result<unknown>>).then((settled) => accept(settled, vendor))
        : accept(result as StandardSchemaV1.Result<unknown>, vendor)
    },
  }
}
