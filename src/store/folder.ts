export type TaskFolder = {
  readonly path: string
  readonly engine: import('./engine.ts').Engine
  close(): Promise<void>
}
export async function openFolder(_o: unknown, _f: number): Promise<TaskFolder> {
  throw new Error('todo')
}
