/** What an application says of itself while it runs: for /ready, the metrics, the terminal view and the queries. */

/** As Kafka Streams', with the same successors. */
export type ApplicationState =
  | 'created'
  | 'rebalancing'
  | 'running'
  | 'pending-shutdown'
  | 'not-running'
  | 'pending-error'
  | 'error'

export type TaskStatus = {
  readonly task: string
  readonly role: 'active' | 'standby'
  readonly state: 'created' | 'restoring' | 'running' | 'suspended' | 'closed'
  readonly streamTime: number
  /** Records by which a standby, or a task that is restored, is behind; null while that isn't known, and once it runs. */
  readonly lag: number | null
  readonly inputs: readonly {
    readonly topic: string
    readonly partition: number
    readonly position: number
    readonly committed: number | null
    readonly endOffset: number | null
  }[]
  readonly stores: readonly {
    readonly store: string
    readonly offset: number | null
    readonly endOffset: number | null
  }[]
}

export type ThreadStatus = {
  readonly thread: string
  readonly state: 'created' | 'starting' | 'running' | 'pending-shutdown' | 'dead'
  /** Of its producer under exactly_once; another one after it was fenced. */
  readonly transactionalId: string
  /** Processed since its start, and the time that took: waiting and committing aside. */
  readonly records: number
  readonly busyMs: number
  readonly tasks: readonly TaskStatus[]
}

export type ApplicationStatus = {
  readonly applicationId: string
  readonly state: ApplicationState
  /** A member of the group, none of its active tasks restoring. */
  readonly ready: boolean
  readonly paused: boolean
  readonly member: { readonly memberId: string; readonly generation: number } | null
  readonly threads: readonly ThreadStatus[]
}
