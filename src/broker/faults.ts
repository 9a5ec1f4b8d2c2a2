/**
 * Faults on demand. A test asks for any request by its API and decides what becomes of it: answered by the test,
 * applied with the answer lost, delayed, dropped with its connection, or let through.
 */

import type { RequestOf, ResponseInOf } from '../wire/api.ts'
import type { apis } from '../wire/apis.ts'
import type { KafkaErrorName } from '../wire/error-codes.ts'

export type Apis = typeof apis
export type ApiName = keyof Apis

export type InterceptedRequest<N extends ApiName = ApiName> = {
  readonly api: N
  readonly version: number
  readonly clientId: string
  readonly body: RequestOf<Apis[N]>
}

/**
 * - `answer`: this is the response, nothing is applied
 * - `error`: the same, with this error code wherever the response has one
 * - `lose`: the request is applied, then the connection closes without an answer
 * - `drop`: nothing is applied, the connection closes
 * - `delayMs`: the request is applied that much later
 * - `edit`: the request is applied, and its response changed on the way out
 */
export type Reaction<N extends ApiName = ApiName> =
  | { readonly answer: ResponseInOf<Apis[N]> }
  | { readonly error: KafkaErrorName }
  | { readonly edit: (response: ResponseInOf<Apis[N]>) => ResponseInOf<Apis[N]> }
  | { readonly delayMs: number }
  | 'lose'
  | 'drop'

/** Undefined lets the request through. A promise holds it back, and all later ones of its connection. */
export type Interceptor<N extends ApiName = ApiName> = (
  request: InterceptedRequest<N>,
) => Reaction<N> | undefined | Promise<Reaction<N> | undefined>

export type Interception = { remove(): void; [Symbol.dispose](): void }

export class Faults {
  readonly #interceptors = new Map<ApiName, Interceptor[]>()
  /** Added to every request. */
  delayMs = 0

  intercept<N extends ApiName>(api: N, interceptor: Interceptor<N>): Interception {
    const known = this.#interceptors.get(api) ?? []
    const added = interceptor as unknown as Interceptor
    this.#interceptors.set(api, [...known, added])
    const remove = () => {
      const left = (this.#interceptors.get(api) ?? []).filter((each) => each !== added)
      this.#interceptors.set(api, left)
    }
    return { remove, [Symbol.dispose]: remove }
  }

  /** The first reaction, of the interceptors in the order they came. */
  async react(request: InterceptedRequest): Promise<Reaction | undefined> {
    for (const interceptor of this.#interceptors.get(request.api) ?? []) {
      const reaction = await interceptor(request)
      if (reaction !== undefined) return reaction
    }
    return undefined
  }

  isWatched(api: ApiName): boolean {
    return (this.#interceptors.get(api)?.length ?? 0) > 0
  }
}
