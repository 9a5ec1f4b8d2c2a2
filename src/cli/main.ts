#!/usr/bin/env node
/** The process of the `millrace` command. */
import { processIo } from './io.ts'
import { runCommand } from './program.ts'

// RocksDB's reads and writes wait in this pool, and so do name look-ups: four are too few for both.
process.env['UV_THREADPOOL_SIZE'] ??= '8'

const io = processIo()
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `millrace tail | head`: whoever read has gone.
  if (error.code === 'EPIPE') process.exit(0)
})
void runCommand(process.argv.slice(2), io).then((code) => {
  process.exitCode = code
  // The command has ended. What it gave up waiting for, such as a request to a mute broker, must not go on for it.
  setTimeout(() => process.exit(), 1_000).unref()
})
