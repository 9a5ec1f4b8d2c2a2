/** Why a record ended here. Kafka Streams lumps most of these into one figure; `counted` says which it counts. */
export const dropReasons = {
  'null-key': { counted: true, doc: 'The operator needs a key and the record has none.' },
  'null-value': { counted: true, doc: 'The operator needs a value and the record has none.' },
  'expired-window': { counted: true, doc: 'The window it belongs to is closed: past its end and grace.' },
  'out-of-retention': { counted: true, doc: 'The store no longer keeps the time it belongs to.' },
  'out-of-order-version': {
    counted: true,
    doc: 'A newer version of the key is there already, and the operator takes only the latest.',
  },
  'foreign-key-hash-mismatch': {
    counted: true,
    doc: 'The left value changed while its foreign-key answer was under way.',
  },
  'null-foreign-key': { counted: true, doc: 'The foreign key of an inner join is null.' },
  'invalid-timestamp': { counted: true, doc: 'The extracted timestamp is negative.' },
  'deserialization-failed': {
    counted: true,
    doc: 'Key or value could not be read; the handler chose to go on.',
  },
  'processing-failed': { counted: true, doc: 'A function threw; the handler chose to go on.' },
  'serialization-failed': {
    counted: true,
    doc: 'Key or value could not be written; the handler chose to go on.',
  },
  'production-failed': { counted: true, doc: 'The broker refused the record; the handler chose to go on.' },
  'empty-partitioner': { counted: true, doc: 'The partitioner named no partition.' },
  'null-repartition-key': {
    counted: false,
    doc: 'A record without a key was filtered out before a repartition topic.',
  },
  'null-group-key': { counted: false, doc: 'A table was grouped by a null key or to a null value.' },
} as const satisfies { readonly [reason: string]: { readonly counted: boolean; readonly doc: string } }

export type DropReason = keyof typeof dropReasons
