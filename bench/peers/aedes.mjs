// aedes from npm as a broker under comparison: `node aedes.mjs MODULE PORT`. aedes is a library; this is the smallest
// program around it.
import { createServer } from 'node:net'
import { pathToFileURL } from 'node:url'

const [module, port] = process.argv.slice(2)
const { Aedes } = await import(pathToFileURL(module).href)

// Sessions and messages lie in memory, which is its default. The default of 100 messages in work at the same time is
// the limit for 50 publishers with 64 each; `queueLimit` of 42 would close clients that send faster than it works.
const broker = await Aedes.createBroker({ concurrency: 10000, queueLimit: 10000 })

// Small packets leave at once, as they do from every other broker in the comparison.
createServer({ noDelay: true }, broker.handle).listen({ host: '127.0.0.1', port: Number(port), backlog: 4096 })
