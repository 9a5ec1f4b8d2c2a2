/** CreateTopics, DeleteTopics, CreatePartitions. */
import { kafkaCode } from '../../wire/error-codes.ts'
import { noUuid } from '../../wire/grammar.ts'
import type { Broker } from '../broker.ts'
import { codeOf, Refusal } from '../refusal.ts'
import { type ConfigMap, configSource, topicConfigs } from '../topic-config.ts'
import { checkPartitions } from '../topics.ts'
import type { Handler } from './handler.ts'

const byDefault = -1

export const createTopics: Handler<'createTopics'> = (broker, { topics, validateOnly }) => {
  const names = topics.map(({ name }) => name)
  return {
    topics: topics.map(({ name, numPartitions, replicationFactor, assignments, configs }) => {
      try {
        if (names.indexOf(name) !== names.lastIndexOf(name)) {
          throw new Refusal('INVALID_REQUEST', `Topic '${name}' is named twice in the request.`)
        }
        const given = configsOf(configs)
        const partitions = partitionsOf(broker, numPartitions, replicationFactor, assignments)
        const settings = Object.entries(topicConfigs).map(([config, { value }]) => ({
          name: config,
          value: given[config] ?? value,
          readOnly: false,
          configSource: config in given ? configSource.topic : configSource.default,
          isSensitive: false,
        }))
        if (validateOnly) broker.topics.check(name, partitions, given)
        const topicId = validateOnly ? noUuid : broker.topics.create(name, partitions, given).id
        return {
          name,
          topicId,
          errorCode: 0,
          errorMessage: null,
          numPartitions: partitions,
          replicationFactor: 1,
          configs: settings,
        }
      } catch (error) {
        return {
          name,
          topicId: noUuid,
          errorCode: codeOf(error),
          errorMessage: (error as Error).message,
          configs: null,
        }
      }
    }),
  }
}

function configsOf(configs: readonly { readonly name: string; readonly value: string | null }[]): ConfigMap {
  const given: { [name: string]: string } = {}
  for (const { name, value } of configs) {
    if (value === null)
      throw new Refusal('INVALID_CONFIG', `Null value not supported for topic configs: ${name}`)
    given[name] = value
  }
  return given
}

function partitionsOf(
  broker: Broker,
  count: number,
  replicationFactor: number,
  assignments: readonly { readonly partition: number; readonly brokerIds: readonly number[] }[],
): number {
  if (assignments.length > 0) {
    if (count !== byDefault || replicationFactor !== byDefault) {
      throw new Refusal(
        'INVALID_REQUEST',
        'Give a replica assignment, or a number of partitions and replicas, not both.',
      )
    }
    const { nodeId } = broker.options
    const isValid = assignments.every(
      ({ partition, brokerIds }) =>
        partition < assignments.length && brokerIds.length === 1 && brokerIds[0] === nodeId,
    )
    if (!isValid)
      throw new Refusal('INVALID_REPLICA_ASSIGNMENT', `The embedded broker is node ${nodeId}, alone.`)
    return assignments.length
  }
  if (replicationFactor !== byDefault && replicationFactor !== 1) {
    throw new Refusal(
      'INVALID_REPLICATION_FACTOR',
      `Replication factor ${replicationFactor}: the embedded broker is alone.`,
    )
  }
  const partitions = count === byDefault ? broker.options.defaultPartitions : count
  checkPartitions(partitions)
  return partitions
}

export const deleteTopics: Handler<'deleteTopics'> = (broker, { topics, topicNames }, { version }) => {
  const wanted = version >= 6 ? topics : topicNames.map((name) => ({ name, topicId: noUuid }))
  return {
    responses: wanted.map(({ name, topicId }) => {
      const topic = name === null ? broker.topics.byId(topicId) : broker.topics.get(name)
      if (topic === undefined) {
        const errorCode = kafkaCode(name === null ? 'UNKNOWN_TOPIC_ID' : 'UNKNOWN_TOPIC_OR_PARTITION')
        return { name, topicId, errorCode, errorMessage: 'This server does not host this topic-partition.' }
      }
      broker.deleteTopic(topic)
      return { name: topic.name, topicId: topic.id, errorCode: 0, errorMessage: null }
    }),
  }
}

export const createPartitions: Handler<'createPartitions'> = (broker, { topics, validateOnly }) => ({
  results: topics.map(({ name, count }) => {
    try {
      const topic = broker.topics.get(name)
      if (topic === undefined)
        throw new Refusal('UNKNOWN_TOPIC_OR_PARTITION', `The topic '${name}' does not exist.`)
      if (count <= topic.logs.length) {
        throw new Refusal(
          'INVALID_PARTITIONS',
          `Topic currently has ${topic.logs.length} partitions, which is not fewer than the requested ${count}.`,
        )
      }
      checkPartitions(count)
      if (!validateOnly) broker.topics.grow(topic, count)
      return { name, errorCode: 0, errorMessage: null }
    } catch (error) {
      return { name, errorCode: codeOf(error), errorMessage: (error as Error).message }
    }
  }),
})
