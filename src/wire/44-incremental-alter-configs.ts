/** Key 44: changes single configuration entries: set (0), delete (1), append (2), subtract (3). */
import { api } from './api.ts'
import { bool, int8, int16, int32, list, nullable, optional, string, struct } from './grammar.ts'

export const incrementalAlterConfigs = api({
  key: 44,
  name: 'IncrementalAlterConfigs',
  min: 0,
  max: 1,
  flexibleFrom: 1,
  request: struct({
    resources: list({
      resourceType: int8,
      resourceName: string,
      configs: list({
        name: string,
        configOperation: int8,
        value: nullable(string),
      }),
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
