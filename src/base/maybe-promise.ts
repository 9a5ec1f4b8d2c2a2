/**
 * A value that is there, or a promise of one. The record loop stays synchronous wherever the answer is in memory:
 * code on the hot path asks `isPromise` and goes on without a microtask when it is not one.
 */
export type MaybePromise<T> = T | Promise<T>

export function isPromise(value: unknown): value is Promise<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  )
}

/** Runs `next` with the value, at once where the value is there. */
export function chain<T, U>(value: MaybePromise<T>, next: (value: T) => MaybePromise<U>): MaybePromise<U> {
  return isPromise(value) ? (value as Promise<T>).then(next) : next(value)
}
