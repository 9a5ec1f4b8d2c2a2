/** SASL PLAIN on one connection: handshake, then one message of user and password. Without users nothing is asked. */
import { timingSafeEqual } from 'node:crypto'
import type { ResponseInOf } from '../wire/api.ts'
import { kafkaCode } from '../wire/error-codes.ts'
import type { ApiName, Apis } from './faults.ts'

const mechanism = 'PLAIN'
const noBytes = Buffer.alloc(0)

export class Sasl {
  readonly #users: Readonly<Record<string, string>>
  #state: 'open' | 'handshake' | 'authenticated'

  constructor(users: Readonly<Record<string, string>>) {
    this.#users = users
    this.#state = Object.keys(users).length === 0 ? 'authenticated' : 'open'
  }

  /** Before authentication a client may ask what is spoken, and authenticate. */
  allows(api: ApiName): boolean {
    return (
      this.#state === 'authenticated' ||
      api === 'apiVersions' ||
      api === 'saslHandshake' ||
      api === 'saslAuthenticate'
    )
  }

  handshake(wanted: string): ResponseInOf<Apis['saslHandshake']> {
    if (wanted !== mechanism)
      return { errorCode: kafkaCode('UNSUPPORTED_SASL_MECHANISM'), mechanisms: [mechanism] }
    if (this.#state === 'open') this.#state = 'handshake'
    return { errorCode: 0, mechanisms: [mechanism] }
  }

  /** The message is authorization id, user and password, each after the first with a zero byte before it. */
  authenticate(message: Buffer): ResponseInOf<Apis['saslAuthenticate']> {
    if (this.#state === 'open') {
      const errorMessage = 'SaslHandshake comes first.'
      return { errorCode: kafkaCode('ILLEGAL_SASL_STATE'), errorMessage, authBytes: noBytes }
    }
    const [, user = '', password = ''] = message.toString('utf8').split('\0')
    const expected = Object.hasOwn(this.#users, user) ? this.#users[user] : undefined
    if (this.#state !== 'authenticated' && (expected === undefined || !isSame(expected, password))) {
      const errorMessage = 'Authentication failed: Invalid username or password'
      return { errorCode: kafkaCode('SASL_AUTHENTICATION_FAILED'), errorMessage, authBytes: noBytes }
    }
    this.#state = 'authenticated'
    return { errorCode: 0, errorMessage: null, authBytes: noBytes }
  }
}

function isSame(expected: string, given: string): boolean {
  const [a, b] = [Buffer.from(expected), Buffer.from(given)]
  return a.length === b.length && timingSafeEqual(a, b)
}
