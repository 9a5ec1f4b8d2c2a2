/**
 * Key 10: the broker that coordinates a group (type 0) or a transactional id (type 1). From version 4 on
 * several keys are asked for at once. Version 6 is for share groups and not spoken.
 */
import { api } from './api.ts'
import {
  array,
  between,
  int8,
  int16,
  int32,
  list,
  needs,
  nullable,
  since,
  string,
  struct,
} from './grammar.ts'

export const findCoordinator = api({
  key: 10,
  name: 'FindCoordinator',
  min: 0,
  max: 5,
  flexibleFrom: 3,
  request: struct({
    key: between(0, 3, string),
    keyType: needs(1, int8),
    coordinatorKeys: needs(4, array(string)),
  }),
  response: struct({
    throttleTimeMs: since(1, int32),
    errorCode: between(0, 3, int16),
    errorMessage: between(1, 3, nullable(string)),
    nodeId: between(0, 3, int32),
    host: between(0, 3, string),
    port: between(0, 3, int32),
    coordinators: since(
      4,
      list({
        key: string,
        nodeId: int32,
        host: string,
        port: int32,
        errorCode: int16,
        errorMessage: nullable(string),
      }),
    ),
  }),
})
