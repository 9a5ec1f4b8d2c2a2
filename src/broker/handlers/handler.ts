/** What a handler is: a request and the broker in, a response out. One file per noun, one function per API. */
import type { RequestOf, ResponseInOf } from '../../wire/api.ts'
import type { Broker } from '../broker.ts'
import type { ApiName, Apis } from '../faults.ts'

export type RequestContext = {
  readonly version: number
  readonly clientId: string
  readonly clientHost: string
  /** Called once, when the connection closes while the request waits. */
  onClose(run: () => void): void
}

type Response<N extends ApiName> = ResponseInOf<Apis[N]>

/** Null where no answer is due. */
export type Handler<N extends ApiName> = (
  broker: Broker,
  request: RequestOf<Apis[N]>,
  context: RequestContext,
) => Response<N> | null | Promise<Response<N> | null>
