/** Key 33: replaces a whole configuration: what is not named goes back to its default. */
import { api } from './api.ts'
import { bool, int8, int16, int32, list, nullable, optional, string, struct } from './grammar.ts'

export const alterConfigs = api({
  key: 33,
  name: 'AlterConfigs',
  min: 0,
  max: 2,
  flexibleFrom: 2,
  request: struct({
    resources: list({
      resourceType: int8,
      resourceName: string,
      configs: list({ name: string, value: nullable(string) }),
    }),
    validateOnly: optional(bool),
  }),
  response: struct({
    throttleTimeMs: optional(int32),
    responses: list({
      errorCode: int16,
      errorMessage: nullable(string),
      resourceType: int8,
      resourceName: string,
    }),
  }),
})
