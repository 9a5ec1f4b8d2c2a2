/** One process of the application with its HTTP service: `node copy.js CONFIG`. Says its address once it runs. */
import { Millrace } from '../../src/service/millrace.ts'
import topology from './totals.ts'

const app = new Millrace(topology, JSON.parse(process.argv[2] as string))
process.stdin.resume()
process.stdin.on('end', () => void app.close().then(() => process.exit(0)))
app.start().then(
  () => console.log(app.httpAddress),
  (error) => {
    console.error(error)
    process.exit(1)
  },
)
