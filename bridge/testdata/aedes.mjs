// An MQTT 3.1.1 server that tells what it gets, and publishes each line of
// standard input, "TOPIC PAYLOAD", at QoS 2. Its argument is the package.json
// beside which it is installed.
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'

const { Aedes } = createRequire(process.argv[2])('aedes')
const broker = await Aedes.createBroker()
broker.on('publish', (packet, client) => {
  if (client) console.log('up', packet.topic, packet.payload.toString(), packet.retain)
})
const server = createServer(broker.handle)
server.listen(0, '127.0.0.1', () => console.log('port', server.address().port))
createInterface({ input: process.stdin }).on('line', (line) => {
  const [topic, payload] = line.split(' ')
  broker.publish({ topic, payload: Buffer.from(payload), qos: 2, retain: false }, () => {})
})
