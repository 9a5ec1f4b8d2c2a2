/** The `millrace` command: what it can be told, in one place. Each command's work is in commands/. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { version } from '../base/version.ts'
import { type ExitCode, exitCodeOf, exitCodes, reportError } from './exit.ts'
import type { Io } from './io.ts'
import { addSettingFlags } from './settings.ts'

type Given = Readonly<Record<string, unknown>>

/** Runs a command line; resolves with the exit code, never rejects. */
export async function runCommand(arguments_: readonly string[], io: Io): Promise<ExitCode> {
  let code: ExitCode = exitCodes.done
  const how = { json: arguments_.includes('--json'), stack: arguments_.includes('--stack') }
  const program = createProgram(io, how.json, (result) => {
    code = result
  })
  try {
    await program.parseAsync([...arguments_], { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.misused
    reportError(io, error, how)
    return exitCodeOf(error)
  }
}

function createProgram(io: Io, json: boolean, finish: (code: ExitCode) => void): Command {
  const program = new Command('millrace')
    .description('Runs, tries out and looks after stream processing topologies on Kafka.')
    .version(version, '-V, --version')
    .helpCommand('help [command]', 'how a command is used')
    .showHelpAfterError(json ? false : '(add --help for how it is used)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.out(text),
      writeErr: (text) => io.err(text),
      getOutHelpWidth: () => Math.min(io.columns(), 120),
      outputError: (text, write) => {
        const error = text
          .replace(/^error: /, '')
          .trim()
          .replace(/\s*\n\s*/g, ' ')
        write(json ? `${JSON.stringify({ error })}\n` : text)
      },
    })
    .addHelpText(
      'after',
      `
Examples:
  millrace init shop && cd shop && npm install && npm start   a new project that runs
  millrace dev topology.ts                  tries a topology, Kafka and input included
  millrace run topology.ts --brokers kafka:9092               runs it
  millrace tail counts --brokers kafka:9092 --value long      shows a topic

Exit codes: 0 done, 1 it failed or the answer is no, 2 called or configured wrongly.`,
    )

  const command = (name: string, doc: string): Command => {
    const made = program.command(name).description(doc)
    made.option('--json', 'for machines: JSON, one object a line where there are many')
    made.option('--stack', 'with an error, where it came from')
    return made
  }
  const act =
    (work: () => Promise<{ run(io: Io, given: Given, ...rest: string[]): Promise<ExitCode> }>) =>
    async (...all: unknown[]): Promise<void> => {
      // commander gives the arguments, the options, and the command itself.
      const given = all[all.length - 2] as Given
      const rest = all.slice(0, -2) as string[]
      const { run } = await work()
      finish(await run(io, given, ...rest))
    }

  addSettingFlags(
    command(
      'run',
      'Runs a topology file until it is told to stop (SIGTERM, SIGINT; a second one ends it at once).',
    ),
  )
    .argument('<file>', 'topology file, TypeScript or JavaScript')
    .addHelpText(
      'after',
      '\nExample: millrace run topology.ts --application-id shop --brokers kafka:9092 --threads 4',
    )
    .action(act(async () => ({ run: (await import('./commands/run.ts')).run })))

  addSettingFlags(
    command(
      'dev',
      'Runs a topology file on an embedded Kafka with its own generated input, and shows what comes out.',
    ),
    ['brokers', 'guarantee'],
  )
    .argument('<file>', 'topology file')
    .option('--rate <records>', 'records a second that are generated', wholeNumber, 200)
    .option('--seed <number>', 'of the chance in the input', wholeNumber, 1)
    .option('--partitions <count>', 'of the topics that are made', wholeNumber, 4)
    .option('--kafka-port <port>', 'of the embedded Kafka; any free one by default', wholeNumber, 0)
    .option('--dir <folder>', "keeps Kafka's data and the state there; without it both are gone at the end")
    .option('--for <duration>', "ends by itself after so long, such as '20s'")
    .option('--plain', 'lines instead of a view of the whole terminal')
    .addHelpText('after', '\nExample: millrace dev topologies/fast-cars.ts --rate 1000')
    .action(act(async () => ({ run: (await import('./commands/dev.ts')).run })))

  command('describe', 'Prints what is connected with what in a topology file.')
    .argument('<file>', 'topology file')
    .addOption(new Option('--format <format>', 'how').choices(['text', 'json', 'mermaid']).default('text'))
    .addHelpText('after', '\nExample: millrace describe topology.ts --format mermaid')
    .action(act(async () => ({ run: (await import('./commands/describe.ts')).run })))

  command('kafka', 'Runs the embedded Kafka alone, for development and tests.')
    .option('--port <port>', 'where it listens on 127.0.0.1; 0 for any free one', wholeNumber, 9092)
    .option('--dir <folder>', 'keeps its data there; without it they live in memory')
    .option('--topic <name:partitions>', 'a topic to be there; may be repeated', collect, [])
    .addHelpText('after', '\nExample: millrace kafka --topic orders:4 --topic payments:4')
    .action(act(async () => ({ run: (await import('./commands/kafka.ts')).run })))

  withKafka(command('tail', 'Prints the records of a topic, old and new; without a topic, lists the topics.'))
    .argument('[topic]')
    .option(
      '--from <position>',
      "'beginning', 'end', an offset, or a time (2026-01-31T12:00, or 10m for ten minutes ago)",
      'end',
    )
    .option('--key <serde>', 'how keys are read: auto, string, json, long, int, double, uuid, bytes', 'auto')
    .option('--value <serde>', 'how values are read', 'auto')
    .option('--window <size>', "keys are of windows of this size, or 'session'")
    .option('--count <records>', 'ends after so many', wholeNumber)
    .option('--no-follow', 'ends when everything that is there was printed')
    .addHelpText(
      'after',
      '\nExample: millrace tail average-speed --from beginning --window 10s --value double --brokers kafka:9092',
    )
    .action(act(async () => ({ run: (await import('./commands/tail.ts')).run })))

  addSettingFlags(
    command('config', 'Shows every setting, its value and where it came from; secrets are hidden.'),
  )
    .argument('[file]', 'topology file')
    .option('--changed', 'only what differs from the defaults')
    .addHelpText('after', '\nExample: millrace config topology.ts --changed')
    .action(act(async () => ({ run: (await import('./commands/config.ts')).run })))

  addSettingFlags(
    command(
      'reset',
      'Takes an application back: its committed offsets, internal topics and local state. Shows what it would do; --execute does it.',
    ),
  )
    .argument('[file]', 'topology file; names the input topics')
    .option('--to-earliest', 'input from the beginning (the default)')
    .option('--to-latest', 'only what comes from now on')
    .option('--to-offset <offset>', 'input from this offset on, in every partition', wholeNumber)
    .option('--to-datetime <time>', 'input from this time on: 2026-01-31T12:00, or 10m for ten minutes ago')
    .option('--shift <records>', 'so many records on, or back with a minus', signedNumber)
    .option(
      '--input-topics <topics>',
      'only these of the input, separated by commas; without a topology file they must be named',
    )
    .option('--keep-state', 'leaves internal topics and local state as they are')
    .option('--execute', 'does it')
    .option('--yes', 'does not ask')
    .addHelpText(
      'after',
      '\nExample: millrace reset topology.ts --brokers kafka:9092 --to-datetime 2026-01-31T12:00 --execute',
    )
    .action(act(async () => ({ run: (await import('./commands/reset.ts')).run })))

  addSettingFlags(
    command(
      'reprocess',
      'Runs a new version beside the old one, from the beginning, into new output topics, and shows when it has caught up.',
    ),
  )
    .argument('<file>', 'topology file of the new version')
    .option('--as <name>', 'names the new version', 'next')
    .option('--switch', 'says whether it has caught up, and with which topics to go on; exit code 1: not yet')
    .option('--lag-max <records>', 'counts as caught up', wholeNumber, 0)
    .option('--drop-old', 'removes the old output, internal topics and state')
    .option('--abandon', 'removes the new output, internal topics and state')
    .option('--yes', 'does not ask')
    .addHelpText(
      'after',
      `
Steps: millrace reprocess topology.ts            runs until stopped, shows progress
       millrace reprocess topology.ts --switch   caught up?
       millrace reprocess topology.ts --drop-old or --abandon`,
    )
    .action(act(async () => ({ run: (await import('./commands/reprocess.ts')).run })))

  command('init', 'Makes a new project that runs and whose tests are green at once.')
    .argument('[folder]', 'where; the name of the project is its last part', '.')
    .option(
      '--package <file>',
      'where millrace itself comes from instead of the registry: what npm pack made',
    )
    .addHelpText('after', '\nExample: millrace init shop && cd shop && npm install && npm test && npm start')
    .action(act(async () => ({ run: (await import('./commands/init.ts')).run })))

  return program
}

/** For commands that need only to reach Kafka. */
function withKafka(command: Command): Command {
  return command
    .option(
      '--brokers <addresses>',
      'where Kafka is; MILLRACE_BROKERS, brokers in millrace.json, or 127.0.0.1:9092',
    )
    .option('--kafka <json>', "kafkajs' own options: ssl, sasl, …")
    .option('--config <file>', 'configuration file')
}

function wholeNumber(text: string): number {
  if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text)
  throw new InvalidArgumentError('A whole number is due.')
}

function signedNumber(text: string): number {
  if (/^[+-]?\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text)
  throw new InvalidArgumentError('A whole number is due, with a minus to go back.')
}

function collect(text: string, before: readonly string[]): readonly string[] {
  return [...before, text]
}
