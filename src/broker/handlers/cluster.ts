/** ApiVersions, Metadata, DescribeCluster, FindCoordinator: who is there, and what is spoken. There is one node. */
import { apis } from '../../wire/apis.ts'
import { kafkaCode } from '../../wire/error-codes.ts'
import { noUuid } from '../../wire/grammar.ts'
import type { Broker } from '../broker.ts'
import { leaderEpoch } from '../log.ts'
import { codeOf, Refusal } from '../refusal.ts'
import type { Topic } from '../topics.ts'
import type { Handler } from './handler.ts'

/** SaslHandshake 0 means tokens without Kafka's frame around them: not spoken. */
const saslHandshakeMin = 1

const spoken = Object.values(apis).map(({ key, min, max }) => ({
  apiKey: key,
  minVersion: key === apis.saslHandshake.key ? saslHandshakeMin : min,
  maxVersion: max,
}))

export const apiVersions: Handler<'apiVersions'> = () => ({ errorCode: 0, apiKeys: spoken })

export const metadata: Handler<'metadata'> = (broker, { topics, allowAutoTopicCreation }, { version }) => {
  const asksAll = topics === null || (version === 0 && topics.length === 0)
  const found = asksAll
    ? broker.topics.all().map(describe)
    : topics.map(({ name, topicId }) => {
        if (name === null) {
          // By id is allowed from version 12 on, though the field is there since 10.
          if (version < 12) return missing('', topicId, kafkaCode('INVALID_REQUEST'))
          const topic = broker.topics.byId(topicId)
          return topic === undefined ? missing(null, topicId, kafkaCode('UNKNOWN_TOPIC_ID')) : describe(topic)
        }
        try {
          const topic = broker.topicFor(name, allowAutoTopicCreation)
          if (topic === undefined) throw new Refusal('UNKNOWN_TOPIC_OR_PARTITION')
          return describe(topic)
        } catch (error) {
          return missing(name, noUuid, codeOf(error))
        }
      })
  const { nodeId } = broker.options
  return { brokers: [nodeOf(broker)], clusterId: broker.clusterId, controllerId: nodeId, topics: found }

  function describe({ name, id, logs }: Topic) {
    return {
      errorCode: 0,
      name,
      topicId: id,
      isInternal: false,
      partitions: logs.map(({ partition }) => ({
        errorCode: 0,
        partition,
        leaderId: broker.options.nodeId,
        leaderEpoch,
        replicaNodes: [broker.options.nodeId],
        isrNodes: [broker.options.nodeId],
        offlineReplicas: [],
      })),
    }
  }
}

function missing(name: string | null, topicId: string, errorCode: number) {
  return { errorCode, name, topicId, isInternal: false, partitions: [] }
}

function nodeOf(broker: Broker) {
  return { nodeId: broker.options.nodeId, host: broker.host, port: broker.port, rack: null }
}

const brokersAsked = 1

export const describeCluster: Handler<'describeCluster'> = (broker, { endpointType }) => {
  const { clusterId } = broker
  if (endpointType !== brokersAsked) {
    const errorMessage = 'The embedded broker has no controller endpoints.'
    return { errorCode: kafkaCode('MISMATCHED_ENDPOINT_TYPE'), errorMessage, clusterId, brokers: [] }
  }
  const { nodeId, host, port, rack } = nodeOf(broker)
  return {
    errorCode: 0,
    clusterId,
    controllerId: nodeId,
    brokers: [{ brokerId: nodeId, host, port, rack, isFenced: false }],
  }
}

const groupKey = 0
const transactionKey = 1

export const findCoordinator: Handler<'findCoordinator'> = (
  broker,
  { keyType, coordinatorKeys },
  { version },
) => {
  const isKnown = keyType === groupKey || keyType === transactionKey
  const errorCode = kafkaCode(isKnown ? 'NONE' : 'INVALID_REQUEST')
  const { nodeId, host, port } = nodeOf(broker)
  const node = isKnown ? { nodeId, host, port } : { nodeId: -1, host: '', port: -1 }
  const errorMessage = isKnown ? null : `Unknown coordinator type ${keyType}.`
  if (version < 4) return { errorCode, errorMessage, ...node }
  return { coordinators: coordinatorKeys.map((each) => ({ key: each, ...node, errorCode, errorMessage })) }
}
