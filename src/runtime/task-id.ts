/**
 * A task's name: `<sub-topology>_<partition>`, as Kafka Streams writes it. The text is the identity; it is taken apart
 * only to be sorted, or to be written in few bytes.
 */
import { StreamsError } from '../base/errors.ts'

export type TaskId = { readonly subtopology: number; readonly partition: number }

const pattern = /^(0|[1-9]\d{0,9})_(0|[1-9]\d{0,9})$/

export function formatTaskId(subtopology: number, partition: number): string {
  return `${subtopology}_${partition}`
}

export function parseTaskId(text: string): TaskId {
  const match = pattern.exec(text)
  if (match === null) {
    throw new StreamsError(
      'CONFIG_INVALID',
      `${JSON.stringify(text)} is not a task; a task is written 0_1: sub-topology 0, partition 1`,
    )
  }
  return { subtopology: Number(match[1]), partition: Number(match[2]) }
}

/** By sub-topology, then by partition: 0_2 before 0_10 before 1_0. */
export function compareTaskIds(left: string, right: string): number {
  const cut = left.indexOf('_')
  const otherCut = right.indexOf('_')
  return (
    Number(left.slice(0, cut)) - Number(right.slice(0, otherCut)) ||
    Number(left.slice(cut + 1)) - Number(right.slice(otherCut + 1))
  )
}
