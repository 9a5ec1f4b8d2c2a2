/** The functions that conformance cases are written with (FORMAT 2 and 5): each an array, its name first. All are total. */
import { endOfTime, Windowed } from '../../src/serde/windowed.ts'

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json }
export type Fn = readonly [string, ...Json[]]

type KeyValue = (key: unknown, value: unknown) => unknown
type Test = (key: unknown, value: unknown) => boolean
type Two = (a: unknown, b: unknown) => unknown
type Three = (key: unknown, a: unknown, b: unknown) => unknown

/** An accumulator that is changed in place: what it holds is its value. */
export class Box {
  value: unknown

  constructor(value: unknown) {
    this.value = value
  }

  toJSON(): unknown {
    return this.value
  }
}

export function unbox(value: unknown): unknown {
  return value instanceof Box ? value.value : value
}

function unknownFunction(kind: string, fn: Fn): Error {
  return new Error(`unknown ${kind}: ${JSON.stringify(fn)}`)
}

/** Java's Long.MAX_VALUE is the end of a window that never ends. */
export const longMax = '9223372036854775807'

export function timeText(time: number): string {
  return time === endOfTime ? longMax : String(time)
}

export function str(boxed: unknown): string {
  const value = unbox(boxed)
  if (value === null || value === undefined) return 'null'
  if (typeof value === 'string') return value
  if (value instanceof Windowed) return `${str(value.key)}@${timeText(value.start)}/${timeText(value.end)}`
  if (typeof value === 'object') return JSON.stringify(value)
  return String(value)
}

const integer = /^-?[0-9]{1,15}$/

export function num(boxed: unknown): number {
  const value = unbox(boxed)
  if (value === null || value === undefined) return 0
  if (typeof value === 'number') return value
  if (typeof value === 'boolean') return value ? 1 : 0
  if (typeof value === 'string') return integer.test(value) ? Number(value) : value.length
  if (Array.isArray(value)) return value.length
  if (value instanceof Windowed) return str(value).length
  return num(field(value, 'n'))
}

export function field(boxed: unknown, name: string): unknown {
  const value = unbox(boxed)
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Windowed)
    return null
  return Object.hasOwn(value, name) ? ((value as Record<string, unknown>)[name] ?? null) : null
}

// Zero has one sign in the format.
const whole = (value: number): number => value + 0

function words(value: unknown): string[] {
  const plain = unbox(value)
  return plain === null
    ? []
    : str(plain)
        .split(' ')
        .filter((word) => word !== '')
}

export function valueFn(fn: Fn): KeyValue {
  const text = fn[1] as string
  const number = fn[1] as number
  switch (fn[0]) {
    case 'identity':
      return (_key, value) => value
    case 'upper':
      return (_key, value) => str(value).toUpperCase()
    case 'lower':
      return (_key, value) => str(value).toLowerCase()
    case 'append':
      return (_key, value) => str(value) + text
    case 'prepend':
      return (_key, value) => text + str(value)
    case 'const':
      return () => fn[1] ?? null
    case 'null':
      return () => null
    case 'nullIf': {
      const test = predicate(fn[1] as unknown as Fn)
      return (key, value) => (test(key, value) ? null : value)
    }
    case 'if': {
      const test = predicate(fn[1] as unknown as Fn)
      const yes = valueFn(fn[2] as unknown as Fn)
      const no = valueFn(fn[3] as unknown as Fn)
      return (key, value) => (test(key, value) ? yes(key, value) : no(key, value))
    }
    case 'length':
      return (_key, value) => str(value).length
    case 'toLong':
      return (_key, value) => num(value)
    case 'str':
      return (_key, value) => str(value)
    case 'add':
      return (_key, value) => whole(num(value) + number)
    case 'mul':
      return (_key, value) => whole(num(value) * number)
    case 'field':
      return (_key, value) => field(value, text)
    case 'setField': {
      const set = valueFn(fn[2] as unknown as Fn)
      return (key, boxed) => {
        const value = unbox(boxed)
        const isObject =
          typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Windowed)
        return { ...(isObject ? value : {}), [text]: unbox(set(key, value)) }
      }
    }
    case 'wrap':
      return (_key, value) => ({ [text]: unbox(value) })
    case 'withKey':
      return (key, value) => `${str(key)}:${str(value)}`
    case 'key':
      return (key) => str(key)
    case 'compose': {
      const steps = fn.slice(1).map((step) => valueFn(step as unknown as Fn))
      return (key, value) => steps.reduce((result, step) => step(key, result), value)
    }
    default:
      throw unknownFunction('value function', fn)
  }
}

export function keyFn(fn: Fn): KeyValue {
  const text = fn[1] as string
  const number = fn[1] as number
  switch (fn[0]) {
    case 'key':
      return (key) => key
    case 'value':
      return (_key, value) => (unbox(value) === null ? null : str(value))
    case 'field':
      return (_key, value) => {
        const found = field(value, text)
        return found === null ? null : str(found)
      }
    case 'const':
      return () => text
    case 'null':
      return () => null
    case 'prefix':
      return (key) => (key === null ? null : str(key).slice(0, number))
    case 'valuePrefix':
      return (_key, value) => (unbox(value) === null ? null : str(value).slice(0, number))
    case 'append':
      return (key) => str(key) + text
    case 'upper':
      return (key) => (key === null ? null : str(key).toUpperCase())
    case 'mod':
      return (_key, value) => (unbox(value) === null ? null : `m${((num(value) % number) + number) % number}`)
    case 'if': {
      const test = predicate(fn[1] as unknown as Fn)
      const yes = keyFn(fn[2] as unknown as Fn)
      const no = keyFn(fn[3] as unknown as Fn)
      return (key, value) => (test(key, value) ? yes(key, value) : no(key, value))
    }
    case 'windowStr':
      return (key) => str(key)
    case 'windowKey':
      return (key) => (key instanceof Windowed ? key.key : key)
    case 'windowStart':
      return (key) => (key instanceof Windowed ? `s${key.start}` : key)
    default:
      throw unknownFunction('key function', fn)
  }
}

export function valuesFn(fn: Fn): (key: unknown, value: unknown) => unknown[] {
  switch (fn[0]) {
    case 'splitWords':
      return (_key, value) => words(value)
    case 'repeat':
      return (_key, value) => Array.from({ length: fn[1] as number }, (_, index) => `${str(value)}#${index}`)
    case 'list': {
      const functions = fn.slice(1).map((item) => valueFn(item as unknown as Fn))
      return (key, value) => functions.map((make) => make(key, value))
    }
    default:
      throw unknownFunction('values function', fn)
  }
}

export function pairsFn(fn: Fn): (key: unknown, value: unknown) => (readonly [unknown, unknown])[] {
  switch (fn[0]) {
    case 'pairs': {
      const pairs = fn.slice(1).map((pair) => {
        const [key, value] = pair as unknown as readonly [Fn, Fn]
        return [keyFn(key), valueFn(value)] as const
      })
      return (key, value) =>
        pairs.map(([toKey, toValue]) => [toKey(key, value), toValue(key, value)] as const)
    }
    case 'wordsToKeys':
      return (key, value) => words(value).map((word) => [word, key] as const)
    default:
      throw unknownFunction('pairs function', fn)
  }
}

export function predicate(fn: Fn): Test {
  const text = fn[1] as string
  const number = fn[1] as number
  const there = (test: (value: unknown) => boolean): Test => {
    return (_key, value) => unbox(value) !== null && test(value)
  }
  switch (fn[0]) {
    case 'true':
      return () => true
    case 'false':
      return () => false
    case 'gt':
      return there((value) => num(value) > number)
    case 'ge':
      return there((value) => num(value) >= number)
    case 'lt':
      return there((value) => num(value) < number)
    case 'le':
      return there((value) => num(value) <= number)
    case 'even':
      return there((value) => num(value) % 2 === 0)
    case 'eq':
      return there((value) => str(value) === str(fn[1]))
    case 'startsWith':
      return there((value) => str(value).startsWith(text))
    case 'contains':
      return there((value) => str(value).includes(text))
    case 'keyEq':
      return (key) => key !== null && str(key) === text
    case 'keyStartsWith':
      return (key) => key !== null && str(key).startsWith(text)
    case 'isNull':
      return (_key, value) => unbox(value) === null
    case 'notNull':
      return (_key, value) => unbox(value) !== null
    case 'keyIsNull':
      return (key) => key === null
    case 'fieldGt':
      return (_key, value) => {
        const found = field(value, text)
        return found !== null && num(found) > (fn[2] as number)
      }
    case 'not': {
      const test = predicate(fn[1] as unknown as Fn)
      return (key, value) => !test(key, value)
    }
    case 'and':
    case 'or': {
      const a = predicate(fn[1] as unknown as Fn)
      const b = predicate(fn[2] as unknown as Fn)
      return fn[0] === 'and'
        ? (key, value) => a(key, value) && b(key, value)
        : (key, value) => a(key, value) || b(key, value)
    }
    default:
      throw unknownFunction('predicate', fn)
  }
}

function list(boxed: unknown): unknown[] {
  const value = unbox(boxed)
  if (Array.isArray(value)) return [...value]
  return value === null ? [] : [value]
}

const orNull = (value: number): number | null => (value === 0 ? null : value)

/** (a: the old aggregate, b: the new value); as merger a is the older, b the newer aggregate. */
export function reducer(fn: Fn): Two {
  switch (fn[0]) {
    case 'sum':
      return (a, b) => whole(num(a) + num(b))
    case 'sub':
      return (a, b) => whole(num(a) - num(b))
    case 'concat':
      return (a, b) => str(a) + (fn[1] as string) + str(b)
    case 'min':
      return (a, b) => (num(b) < num(a) ? b : a)
    case 'max':
      return (a, b) => (num(b) > num(a) ? b : a)
    case 'first':
      return (a) => a
    case 'last':
      return (_a, b) => b
    case 'null':
      return () => null
    case 'sumOrNull':
      return (a, b) => orNull(num(a) + num(b))
    case 'subOrNull':
      return (a, b) => orNull(num(a) - num(b))
    case 'collect':
      return (a, b) => [...list(a), ...list(b)]
    default:
      throw unknownFunction('reducer', fn)
  }
}

/** (key, value, aggregate) */
export function aggregator(fn: Fn): Three {
  switch (fn[0]) {
    case 'count':
      return (_key, _value, aggregate) => num(aggregate) + 1
    case 'uncount':
      return (_key, _value, aggregate) => num(aggregate) - 1
    case 'uncountOrNull':
      return (_key, _value, aggregate) => orNull(num(aggregate) - 1)
    case 'sum':
      return (_key, value, aggregate) => whole(num(aggregate) + num(value))
    case 'sub':
      return (_key, value, aggregate) => whole(num(aggregate) - num(value))
    case 'sumOrNull':
      return (_key, value, aggregate) => orNull(num(aggregate) + num(value))
    case 'concat':
      return (_key, value, aggregate) => str(aggregate) + (fn[1] as string) + str(value)
    case 'concatWithKey':
      return (key, value, aggregate) => `${str(aggregate)}${fn[1] as string}${str(key)}=${str(value)}`
    case 'min':
      return (_key, value, aggregate) =>
        aggregate === null || num(value) < num(aggregate) ? value : aggregate
    case 'max':
      return (_key, value, aggregate) =>
        aggregate === null || num(value) > num(aggregate) ? value : aggregate
    case 'last':
      return (_key, value) => value
    case 'collect':
      return (_key, value, aggregate) => [...list(aggregate), unbox(value)]
    case 'uncollect':
      return (_key, value, aggregate) => {
        const items = list(aggregate)
        const at = items.findIndex((item) => str(item) === str(value))
        if (at >= 0) items.splice(at, 1)
        return items
      }
    case 'null':
      return () => null
    default:
      throw unknownFunction('aggregator', fn)
  }
}

/** (key, left, right) */
export function joiner(fn: Fn): Three {
  switch (fn[0]) {
    case 'concat':
      return (_key, left, right) => `${str(left)}|${str(right)}`
    case 'concatWithKey':
      return (key, left, right) => `${str(key)}:${str(left)}|${str(right)}`
    case 'sum':
      return (_key, left, right) => whole(num(left) + num(right))
    case 'left':
      return (_key, left) => left
    case 'right':
      return (_key, _left, right) => right
    case 'obj':
      return (_key, left, right) => ({ l: unbox(left), r: unbox(right) })
    case 'nullIfRightNull':
      return (_key, left, right) => (unbox(right) === null ? null : `${str(left)}|${str(right)}`)
    default:
      throw unknownFunction('joiner', fn)
  }
}
