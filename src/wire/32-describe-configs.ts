/** Key 32: configuration of topics (type 2) and brokers (type 4), and where each value comes from. */
import { api } from './api.ts'
import {
  array,
  bool,
  int8,
  int16,
  int32,
  list,
  needs,
  nullable,
  optional,
  since,
  string,
  struct,
} from './grammar.ts'

export const describeConfigs = api({
  key: 32,
  name: 'DescribeConfigs',
  min: 1,
  max: 4,
  flexibleFrom: 4,
  request: struct({
    resources: list({
      resourceType: int8,
      resourceName: string,
      configurationKeys: nullable(array(string)),
    }),
    includeSynonyms: optional(bool),
    includeDocumentation: needs(3, bool),
  }),
  response: struct({
    throttleTimeMs: optional(int32),
    results: list({
      errorCode: int16,
      errorMessage: nullable(string),
      resourceType: int8,
      resourceName: string,
      configs: list({
        name: string,
        value: nullable(string),
        readOnly: bool,
        configSource: optional(int8, -1),
        isSensitive: bool,
        synonyms: list({ name: string, value: nullable(string), source: int8 }),
        configType: since(3, int8),
        documentation: since(3, nullable(string)),
      }),
    }),
  }),
})
