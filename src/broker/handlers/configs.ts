/** DescribeConfigs, AlterConfigs, IncrementalAlterConfigs: the settings of topics; those of the node can be read. */
import { kafkaCode } from '../../wire/error-codes.ts'
import type { Broker } from '../broker.ts'
import { codeOf, Refusal } from '../refusal.ts'
import {
  type ConfigMap,
  configKindNumber,
  configSource,
  definitionOf,
  listOf,
  settingsOf,
  topicConfigs,
} from '../topic-config.ts'
import type { Topic } from '../topics.ts'
import type { Handler } from './handler.ts'

const topicResource = 2
const brokerResource = 4

type Described = {
  readonly name: string
  readonly value: string
  readonly source: number
  readonly defaultValue: string | null
  readonly kind: number
  readonly readOnly: boolean
}

export const describeConfigs: Handler<'describeConfigs'> = (broker, { resources, includeSynonyms }) => ({
  results: resources.map(({ resourceType, resourceName, configurationKeys }) => {
    try {
      const all =
        resourceType === topicResource
          ? ofTopic(topicOf(broker, resourceName))
          : ofBroker(broker, resourceType, resourceName)
      const wanted =
        configurationKeys === null || configurationKeys.length === 0
          ? all
          : all.filter(({ name }) => configurationKeys.includes(name))
      const configs = wanted.map(({ name, value, source, defaultValue, kind, readOnly }) => ({
        name,
        value,
        readOnly,
        configSource: source,
        isSensitive: false,
        synonyms: includeSynonyms ? synonymsOf(name, value, source, defaultValue) : [],
        configType: kind,
        documentation: null,
      }))
      return { errorCode: 0, errorMessage: null, resourceType, resourceName, configs }
    } catch (error) {
      return {
        errorCode: codeOf(error),
        errorMessage: (error as Error).message,
        resourceType,
        resourceName,
        configs: [],
      }
    }
  }),
})

function synonymsOf(name: string, value: string, source: number, defaultValue: string | null) {
  const own = source === configSource.default ? [] : [{ name, value, source }]
  return defaultValue === null ? own : [...own, { name, value: defaultValue, source: configSource.default }]
}

function ofTopic({ configs }: Topic): Described[] {
  return Object.entries(topicConfigs).map(([name, { value: defaultValue, kind }]) => {
    const given = configs[name]
    const source = given === undefined ? configSource.default : configSource.topic
    return {
      name,
      value: given ?? defaultValue,
      source,
      defaultValue,
      kind: configKindNumber[kind],
      readOnly: false,
    }
  })
}

function ofBroker(broker: Broker, resourceType: number, resourceName: string): Described[] {
  const { nodeId, autoCreateTopics, defaultPartitions, initialRebalanceDelayMs } = broker.options
  if (resourceType !== brokerResource)
    throw new Refusal('INVALID_REQUEST', `Resource type ${resourceType} is not supported.`)
  if (resourceName !== '' && resourceName !== String(nodeId)) {
    throw new Refusal(
      'INVALID_REQUEST',
      `Unexpected broker id, expected ${nodeId}, but received ${resourceName}`,
    )
  }
  const values: readonly (readonly [string, string, number])[] = [
    ['auto.create.topics.enable', String(autoCreateTopics), configKindNumber.boolean],
    ['default.replication.factor', '1', configKindNumber.int],
    ['group.initial.rebalance.delay.ms', String(initialRebalanceDelayMs), configKindNumber.int],
    ['message.max.bytes', topicConfigs['max.message.bytes']?.value ?? '', configKindNumber.int],
    ['node.id', String(nodeId), configKindNumber.int],
    ['num.partitions', String(defaultPartitions), configKindNumber.int],
  ]
  return values.map(([name, value, kind]) => ({
    name,
    value,
    source: configSource.staticBroker,
    defaultValue: null,
    kind,
    readOnly: true,
  }))
}

function topicOf(broker: Broker, name: string): Topic {
  const topic = broker.topics.get(name)
  if (topic === undefined)
    throw new Refusal('UNKNOWN_TOPIC_OR_PARTITION', `The topic '${name}' does not exist.`)
  return topic
}

function alter(
  broker: Broker,
  resourceType: number,
  name: string,
  validateOnly: boolean,
  change: (configs: ConfigMap) => ConfigMap,
) {
  const resource = { resourceType, resourceName: name }
  try {
    if (resourceType !== topicResource)
      throw new Refusal('INVALID_REQUEST', 'Only the settings of topics can be changed here.')
    const topic = topicOf(broker, name)
    const configs = change(topic.configs)
    settingsOf(configs)
    if (!validateOnly) broker.topics.configure(topic, configs)
    return { errorCode: kafkaCode('NONE'), errorMessage: null, ...resource }
  } catch (error) {
    return { errorCode: codeOf(error), errorMessage: (error as Error).message, ...resource }
  }
}

export const alterConfigs: Handler<'alterConfigs'> = (broker, { resources, validateOnly }) => ({
  responses: resources.map(({ resourceType, resourceName, configs }) =>
    alter(broker, resourceType, resourceName, validateOnly, () => {
      const next: { [name: string]: string } = {}
      for (const { name, value } of configs) if (value !== null) next[name] = value
      return next
    }),
  ),
})

const operations = { set: 0, delete: 1, append: 2, subtract: 3 } as const

export const incrementalAlterConfigs: Handler<'incrementalAlterConfigs'> = (
  broker,
  { resources, validateOnly },
) => ({
  responses: resources.map(({ resourceType, resourceName, configs }) =>
    alter(broker, resourceType, resourceName, validateOnly, (current) => {
      const next: { [name: string]: string } = { ...current }
      for (const { name, configOperation, value } of configs) {
        if (configOperation === operations.delete) {
          if (definitionOf(name) === undefined)
            throw new Refusal('INVALID_CONFIG', `Unknown topic config name: ${name}`)
          delete next[name]
          continue
        }
        if (value === null) throw new Refusal('INVALID_REQUEST', `Null value not supported for: ${name}`)
        if (configOperation === operations.set) {
          next[name] = value
          continue
        }
        if (definitionOf(name)?.kind !== 'list')
          throw new Refusal('INVALID_CONFIG', `Config value append is not allowed for config key: ${name}`)
        const parts = listOf(next[name] ?? definitionOf(name)?.value ?? '')
        const given = listOf(value)
        const merged =
          configOperation === operations.append
            ? [...parts.filter((part) => !given.includes(part)), ...given]
            : parts.filter((part) => !given.includes(part))
        next[name] = merged.join(',')
      }
      return next
    }),
  ),
})
