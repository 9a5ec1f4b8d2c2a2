/** Which time a record has: `stream(topic, { timestampExtractor: timestamps.usePartitionTime })`. */
import { invalid } from './graph-builder.ts'
import type { TimestampExtractor } from './node.ts'

export const timestamps: Readonly<
  Record<'failOnInvalid' | 'skipInvalid' | 'usePartitionTime' | 'wallClock', TimestampExtractor>
> = {
  /** The record's own; one that isn't a time (negative) stops the application. */
  failOnInvalid: (_value, _key, record) => {
    if (record.timestamp >= 0) return record.timestamp
    throw invalid(
      `${record.topic}-${record.partition}, offset ${record.offset}: the timestamp ${record.timestamp} is no time; ` +
        'use timestamps.skipInvalid or timestamps.usePartitionTime to go on',
    )
  },

  /** The record's own; one without a time is dropped and counted. This is the default. */
  skipInvalid: (_value, _key, record) => record.timestamp,

  /** The record's own, or else the highest of its partition so far. */
  usePartitionTime: (_value, _key, record, partitionTime) => {
    if (record.timestamp >= 0) return record.timestamp
    if (partitionTime >= 0) return partitionTime
    throw invalid(
      `${record.topic}-${record.partition}, offset ${record.offset}: the timestamp ${record.timestamp} is no time, ` +
        'and no record of the partition before had one',
    )
  },

  /** When it is read. */
  wallClock: (_value, _key, _record, _partitionTime, wallClock) => wallClock,
}
