/**
 * Key 18: what the broker speaks. Always the first request; its response header has no tags even in flexible
 * versions, so that a client can read a refusal.
 */
import { api } from './api.ts'
import { bool, int16, int32, int64, list, since, string, struct, tagged } from './grammar.ts'

export const apiVersions = api({
  key: 18,
  name: 'ApiVersions',
  min: 0,
  max: 4,
  flexibleFrom: 3,
  request: struct({
    clientSoftwareName: since(3, string),
    clientSoftwareVersion: since(3, string),
  }),
  response: struct({
    errorCode: int16,
    apiKeys: list({ apiKey: int16, minVersion: int16, maxVersion: int16 }),
    throttleTimeMs: since(1, int32),
    supportedFeatures: tagged(0, 3, list({ name: string, minVersion: int16, maxVersion: int16 })),
    finalizedFeaturesEpoch: tagged(1, 3, int64, -1),
    finalizedFeatures: tagged(
      2,
      3,
      list({
        name: string,
        maxVersionLevel: int16,
        minVersionLevel: int16,
      }),
    ),
    zkMigrationReady: tagged(3, 3, bool),
  }),
})
