/** JoinGroup, SyncGroup, Heartbeat, LeaveGroup, DescribeGroups, ListGroups, DeleteGroups. */
import { kafkaCode } from '../../wire/error-codes.ts'
import type { Broker } from '../broker.ts'
import { type Group, type GroupState, type Member, refusedSync } from '../group.ts'
import { codeOf, Refusal } from '../refusal.ts'
import type { Handler } from './handler.ts'

export const joinGroup: Handler<'joinGroup'> = (broker, request, { version, clientId, clientHost }) => {
  const { groupId, memberId, sessionTimeoutMs, rebalanceTimeoutMs, groupInstanceId, protocolType } = request
  const { sessionTimeoutMinMs, sessionTimeoutMaxMs } = broker.options
  const refuse = (error: 'INVALID_GROUP_ID' | 'INVALID_SESSION_TIMEOUT' | 'UNKNOWN_MEMBER_ID') => ({
    errorCode: kafkaCode(error),
    protocolType: null,
    protocolName: version >= 7 ? null : '',
    leader: '',
    skipAssignment: false,
    memberId,
    members: [],
  })
  if (groupId === '') return refuse('INVALID_GROUP_ID')
  if (sessionTimeoutMs < sessionTimeoutMinMs || sessionTimeoutMs > sessionTimeoutMaxMs)
    return refuse('INVALID_SESSION_TIMEOUT')
  if (memberId !== '' && broker.groups.get(groupId) === undefined) return refuse('UNKNOWN_MEMBER_ID')
  const answer = broker.groups.open(groupId).join({
    memberId,
    instanceId: groupInstanceId,
    clientId,
    clientHost,
    sessionTimeoutMs,
    // Version 0 has one time-out for both.
    rebalanceTimeoutMs: rebalanceTimeoutMs < 0 ? sessionTimeoutMs : rebalanceTimeoutMs,
    protocolType,
    // A view of the request would keep the whole of it in memory.
    protocols: request.protocols.map(({ name, metadata }) => ({ name, metadata: Buffer.from(metadata) })),
    needsKnownId: version >= 4,
    canSkipAssignment: version >= 9,
  })
  const named = (joined: Awaited<typeof answer>) => ({
    ...joined,
    protocolName: joined.protocolName ?? (version >= 7 ? null : ''),
  })
  return answer instanceof Promise ? answer.then(named) : named(answer)
}

export const syncGroup: Handler<'syncGroup'> = (broker, request) => {
  const { groupId, generationId, memberId, groupInstanceId, protocolType, protocolName, assignments } =
    request
  try {
    const group = groupOf(broker, groupId)
    const byMember = new Map(assignments.map(({ memberId: id, assignment }) => [id, Buffer.from(assignment)]))
    return group.sync(memberId, groupInstanceId, generationId, protocolType, protocolName, byMember)
  } catch (error) {
    if (error instanceof Refusal) return refusedSync(error.error)
    throw error
  }
}

export const heartbeat: Handler<'heartbeat'> = (
  broker,
  { groupId, generationId, memberId, groupInstanceId },
) => {
  try {
    groupOf(broker, groupId).heartbeat(memberId, groupInstanceId, generationId)
    return { errorCode: 0 }
  } catch (error) {
    return { errorCode: codeOf(error) }
  }
}

export const leaveGroup: Handler<'leaveGroup'> = (broker, { groupId, memberId, members }, { version }) => {
  const leaving = version >= 3 ? members : [{ memberId, groupInstanceId: null }]
  const left = leaving.map((member) => {
    try {
      const id = groupOf(broker, groupId).leave(member.memberId, member.groupInstanceId)
      return { memberId: id, groupInstanceId: member.groupInstanceId, errorCode: 0 }
    } catch (error) {
      return { memberId: member.memberId, groupInstanceId: member.groupInstanceId, errorCode: codeOf(error) }
    }
  })
  return version >= 3 ? { errorCode: 0, members: left } : { errorCode: left[0]?.errorCode ?? 0 }
}

function groupOf(broker: Broker, id: string): Group {
  if (id === '') throw new Refusal('INVALID_GROUP_ID')
  const group = broker.groups.get(id)
  if (group === undefined) throw new Refusal('UNKNOWN_MEMBER_ID')
  return group
}

const stateNames: { readonly [S in GroupState]: string } = {
  empty: 'Empty',
  preparing: 'PreparingRebalance',
  completing: 'CompletingRebalance',
  stable: 'Stable',
  dead: 'Dead',
}

const noBytes = Buffer.alloc(0)

export const describeGroups: Handler<'describeGroups'> = (broker, { groups }, { version }) => ({
  groups: groups.map((groupId) => {
    const group = broker.groups.get(groupId)
    if (group === undefined) {
      // Older clients know a missing group by its state alone.
      const errorCode = version >= 6 ? kafkaCode('GROUP_ID_NOT_FOUND') : 0
      const errorMessage = `Group ${groupId} not found.`
      return {
        errorCode,
        errorMessage,
        groupId,
        groupState: 'Dead',
        protocolType: '',
        protocolData: '',
        members: [],
      }
    }
    const { state, protocolType, protocolName } = group
    return {
      errorCode: 0,
      errorMessage: null,
      groupId,
      groupState: stateNames[state],
      protocolType: protocolType ?? '',
      protocolData: state === 'stable' ? (protocolName ?? '') : '',
      members: [...group.members.values()].map((member) =>
        describe(member, state === 'stable' ? protocolName : null),
      ),
    }
  }),
})

function describe(member: Member, protocol: string | null) {
  const metadata = member.protocols.find(({ name }) => name === protocol)?.metadata
  return {
    memberId: member.id,
    groupInstanceId: member.instanceId,
    clientId: member.clientId,
    clientHost: `/${member.clientHost}`,
    memberMetadata: metadata ?? noBytes,
    memberAssignment: protocol === null ? noBytes : member.assignment,
  }
}

export const listGroups: Handler<'listGroups'> = (broker, { statesFilter, typesFilter }) => {
  const states = statesFilter.map((state) => state.toLowerCase())
  const isWanted = typesFilter.length === 0 || typesFilter.some((type) => type.toLowerCase() === 'classic')
  const groups = isWanted ? broker.groups.all() : []
  return {
    errorCode: 0,
    groups: groups
      .filter(({ state }) => states.length === 0 || states.includes(stateNames[state].toLowerCase()))
      .map(({ id, protocolType, state }) => ({
        groupId: id,
        protocolType: protocolType ?? '',
        groupState: stateNames[state],
        groupType: 'classic',
      })),
  }
}

export const deleteGroups: Handler<'deleteGroups'> = (broker, { groupsNames }) => ({
  results: groupsNames.map((groupId) => {
    try {
      broker.groups.delete(groupId)
      return { groupId, errorCode: 0 }
    } catch (error) {
      return { groupId, errorCode: codeOf(error) }
    }
  }),
})
