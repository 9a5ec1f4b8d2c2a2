/**
 * The one error of the library. `code` is stable, `verdict` says what the stream loop does about it,
 * `about` names the thing. Thrown where the fact is known, judged once, in the stream loop.
 */

/**
 * - `retry`: the same request may work later
 * - `abort`: the transaction is given up, its tasks start again from the last commit
 * - `rejoin`: this member lost its tasks; drop them and join the group again
 * - `restore`: local state can't be trusted; wipe it and restore from the changelog
 * - `skip`: this record can't be processed; the handler decides whether the rest goes on
 * - `stop`: nobody but a person can mend it
 */
export type Verdict = 'retry' | 'abort' | 'rejoin' | 'restore' | 'skip' | 'stop'

export type About = {
  readonly task?: string
  readonly node?: string
  readonly store?: string
  readonly topic?: string
  readonly partition?: number
  readonly offset?: number
  readonly broker?: string
  readonly api?: string
  readonly kafkaCode?: number
  readonly config?: string
}

export const errorCodes = {
  CONFIG_INVALID: { verdict: 'stop', doc: 'A setting or an option has a value that is not allowed.' },
  TOPOLOGY_INVALID: { verdict: 'stop', doc: 'The topology can not work as it was written.' },
  PROMISE_NOT_ALLOWED: { verdict: 'stop', doc: 'A function that must be synchronous returned a promise.' },
  UNDEFINED_NOT_ALLOWED: { verdict: 'stop', doc: 'A function returned undefined where a value is due; only null is a tombstone.' },
  SERDE_FAILED: { verdict: 'skip', doc: 'A key or a value could not be read from or written to bytes.' },
  WIRE_MALFORMED: { verdict: 'stop', doc: 'Bytes from the network are not what the Kafka protocol says.' },
  WIRE_UNENCODABLE: { verdict: 'stop', doc: 'A value does not fit the field of the Kafka protocol it is meant for.' },
  WIRE_VERSION: { verdict: 'stop', doc: 'A Kafka request needs a newer or older version than the other side speaks.' },
  PROCESSING_FAILED: { verdict: 'skip', doc: 'A function of the topology threw.' },
  BATCH_CORRUPT: { verdict: 'stop', doc: 'A record batch can not be read: bad checksum, impossible length, or broken compression.' },
  BATCH_TOO_LARGE: { verdict: 'stop', doc: 'A record batch would need more memory than the limit allows.' },
  BATCH_UNSUPPORTED: { verdict: 'stop', doc: 'A record batch has a format or a compression that is not supported.' },
} as const satisfies { readonly [code: string]: { readonly verdict: Verdict; readonly doc: string } }

export type ErrorCode = keyof typeof errorCodes

export class StreamsError extends Error {
  override readonly name = 'StreamsError'
  readonly code: ErrorCode
  readonly verdict: Verdict
  readonly about: About

  constructor(code: ErrorCode, message: string, about: About & { readonly cause?: unknown; readonly verdict?: Verdict } = {}) {
    const { cause, verdict, ...rest } = about
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.verdict = verdict ?? errorCodes[code].verdict
    this.about = rest
  }
}
