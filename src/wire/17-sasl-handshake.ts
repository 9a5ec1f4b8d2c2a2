/** Key 17: chooses the SASL mechanism. Never flexible. */
import { api } from './api.ts'
import { array, int16, string, struct } from './grammar.ts'

export const saslHandshake = api({
  key: 17,
  name: 'SaslHandshake',
  min: 0,
  max: 1,
  request: struct({ mechanism: string }),
  response: struct({ errorCode: int16, mechanisms: array(string) }),
})
