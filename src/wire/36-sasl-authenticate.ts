/** Key 36: one step of a SASL exchange. */
import { api } from './api.ts'
import { bytes, int16, int64, nullable, since, string, struct } from './grammar.ts'

export const saslAuthenticate = api({
  key: 36,
  name: 'SaslAuthenticate',
  min: 0,
  max: 2,
  flexibleFrom: 2,
  request: struct({ authBytes: bytes }),
  response: struct({
    errorCode: int16,
    errorMessage: nullable(string),
    authBytes: bytes,
    sessionLifetimeMs: since(1, int64),
  }),
})
