/** The reference pages that are made from tables of the source: settings, metrics, errors. */
import { dropReasons } from '../../src/base/drop.ts'
import { errorCodes } from '../../src/base/errors.ts'
import { environmentName, kebab, type Options, type Setting, upperSnake } from '../../src/base/options.ts'
import { ownMetrics, sensorMappings } from '../../src/metrics/sensors.ts'
import { type MetricSpec, metricTable } from '../../src/metrics/table.ts'

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

const made = (table: string): string =>
  `<!-- Made from ${table} by \`npx vitest run test/docs -u\`; a test holds both together. -->\n`

function defaultOf(setting: Setting): string {
  if (setting.required === true) return '**required**'
  if (setting.derive !== undefined) return setting.derive.doc
  return `\`${setting.check.print(setting.check.accept(setting.default))}\``
}

export function configurationPage(options: Options): string {
  const groups = new Map<string, [string, Setting][]>()
  for (const entry of Object.entries(options.settings)) {
    const group = entry[1].group ?? ''
    groups.set(group, [...(groups.get(group) ?? []), entry])
  }
  const sections = [...groups].map(([group, entries]) => {
    const rows = entries.flatMap(([name, setting]) => {
      const ways =
        setting.check.code === true
          ? 'code only'
          : `\`${environmentName(options, name)}\`<br>\`--${kebab(name)}\``
      const java = (setting.java ?? []).filter((each) => !each.startsWith('__')).map((each) => `\`${each}\``)
      const row = `| \`${name}\` | ${cell(defaultOf(setting))} | ${cell(setting.doc)} Takes ${cell(setting.check.allowed)}.${setting.live === true ? ' Can change while running.' : ''} | ${ways} | ${java.join('<br>')} |`
      const fields = Object.entries(setting.check.fields ?? {}).map(
        ([field, inner]) =>
          `| \`${name}.${field}\` | ${cell(defaultOf(inner))} | ${cell(inner.doc)} Takes ${cell(inner.check.allowed)}.${inner.secret === true ? ' A secret.' : ''} | \`${environmentName(options, name)}_${upperSnake(field)}\`<br>\`--${kebab(name)}-${kebab(field)}\` | |`,
      )
      return [row, ...fields]
    })
    return [
      `## ${group}`,
      '',
      '| Setting | Default | What it does, what it takes | Environment, flag | Kafka Streams |',
      '| --- | --- | --- | --- | --- |',
      ...rows,
      '',
    ].join('\n')
  })
  return `${made('src/runtime/options.ts')}# Configuration

Every setting of an application. In code it is a field of the second argument of \`new Millrace(topology, config)\`. With
\`millrace run\` it comes, each stronger than the one before, from the topology file's \`config\` export, a configuration file
(\`--config FILE\`, or \`millrace.json\` beside the topology), the environment, and flags. \`millrace config FILE.ts\` shows every
setting, its value and where it came from.

- A wrong name or value stops the start. All mistakes are named at once, each with what is allowed; Kafka Streams' dotted
  names are answered with the names here.
- Durations are milliseconds or text such as \`'250ms'\`, \`'10s'\`, \`'5m'\`, \`'4h'\`, \`'1d'\`; sizes are bytes or text such as
  \`'64MiB'\`.
- Secrets can come from files: a variable with \`_FILE\` behind its name holds the path of a file
  (\`MILLRACE_HTTP_TOKEN_FILE=/run/secrets/token\`); in a configuration file \`{ "file": "/run/secrets/password" }\` stands for the
  file's content, at any depth. They are hidden wherever settings are shown.
- A change of a setting needs a restart, unless its line says otherwise. \`millrace run\` watches its configuration file and
  says which changes it took over and which need one.

${sections.join('\n')}`
}

export function metricsPage(): string {
  const rows = Object.entries(metricTable as Readonly<Record<string, MetricSpec>>).map(
    ([name, { kind, labels, level, help }]) =>
      `| \`${name}\` | ${kind}${level === 'debug' ? ', debug' : ''} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${cell(help)} |`,
  )
  const mapped = sensorMappings.map(({ group, sensors, metrics, note }) => {
    const ours = metrics.length === 0 ? 'none' : metrics.map((name) => `\`${name}\``).join('<br>')
    return `| ${group} | ${sensors.map((sensor) => `\`${sensor}\``).join(' ')} | ${ours} | ${cell(note ?? '')} |`
  })
  const drops = Object.entries(dropReasons).map(
    ([reason, { counted, doc }]) => `| \`${reason}\` | ${counted ? 'yes' : 'no'} | ${cell(doc)} |`,
  )
  return `${made('src/metrics/table.ts and src/metrics/sensors.ts')}# Metrics

\`GET /metrics\` of the HTTP service gives them, or the registry that \`config.registry\` names. All are labelled with
\`application\`, the application id. Those marked *debug* have a series per node or per store and exist only at
\`metricsLevel: 'debug'\`. A registry that Millrace makes itself also has prom-client's own metrics of the process
(\`process_…\`, \`nodejs_…\`). Alert rules and a Grafana dashboard are in [deploy/](../deploy).

They are fed per batch, commit and event, never per record. Of the CPU time of a windowed count at full speed they take
2.3 % (1.7 to 2.6 in five rounds of 2,000,000 records, scraped each second; at \`debug\` the same):
\`node scripts/run.mjs scripts/metrics-cost.ts --brokers … --profile\`.

| Metric | Kind | Labels | What it tells |
| --- | --- | --- | --- |
${rows.join('\n')}

## Reasons of \`millrace_records_dropped_total\`

| Reason | In Kafka Streams' \`dropped-records\` | What happened |
| --- | --- | --- |
${drops.join('\n')}

## Coming from Kafka Streams' sensors

A rate is \`rate()\` over a counter; an average or a maximum over a window is computed from a histogram. So one metric stands
for several sensors.

| Group | Sensors | Here | What differs |
| --- | --- | --- | --- |
${mapped.join('\n')}

Beyond these: ${Object.entries(ownMetrics)
    .map(([name, what]) => `\`${name}\` (${what.replace(/\.$/, '').toLowerCase()})`)
    .join(', ')}.
`
}

const verdicts = {
  retry: 'the same may work later: it is tried again',
  abort: 'the transaction is given up; its tasks start again from the last commit',
  rejoin: 'the tasks are dropped and the group is joined again',
  restore: 'the local state is wiped and restored from the changelog',
  skip: 'the handler decides whether the record is skipped or the thread stops',
  stop: 'the thread or the start stops: a person must mend it',
} as const

export function errorsPage(): string {
  const rows = Object.entries(errorCodes)
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([code, { verdict, doc }]) => `| \`${code}\` | ${verdict} | ${cell(doc)} |`)
  return `${made('src/base/errors.ts')}# Errors

Every error of the library is a \`StreamsError\`. Its \`code\` is stable, its \`message\` names the thing and the remedy, its
\`about\` holds task, node, store, topic, partition and offset where they are known, its \`cause\` is what was thrown first.
\`verdict\` says what follows:

| Verdict | What follows |
| --- | --- |
${Object.entries(verdicts)
  .map(([verdict, what]) => `| ${verdict} | ${what} |`)
  .join('\n')}

| Code | Verdict | What it means |
| --- | --- | --- |
${rows.join('\n')}
`
}
