// MQTT.js on the end of two pipes: what to do comes as lines of JSON on
// standard input, what happens goes out the same way.
//
//     node mqttjs.mjs PACKAGE_JSON
//
// PACKAGE_JSON is that of the folder whose node_modules hold mqtt.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

const mqtt = createRequire(process.argv[2])('mqtt')

const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')
const fault = (err) => say({ on: 'fault', text: `${err.message} (${err.code})` })

let client

// Correlation data is bytes; the other side of the pipe writes text.
const bytes = (properties) => properties?.correlationData === undefined
  ? properties
  : { ...properties, correlationData: Buffer.from(properties.correlationData) }
const text = (properties) => properties?.correlationData === undefined
  ? properties
  : { ...properties, correlationData: properties.correlationData.toString() }

const commands = {
  connect ({ url, options }) {
    if (options.will) options.will.properties = bytes(options.will.properties)
    client = mqtt.connect(url, options)
    client.on('connect', (p) => say({ on: 'connect', present: p.sessionPresent, properties: p.properties }))
    // A code in letters is the network's: the client deals with that itself.
    client.on('error', (err) => { if (typeof err.code !== 'string') fault(err) })
    client.on('message', (topic, payload, p) => say({
      on: 'message',
      topic,
      payload: payload.toString(),
      qos: p.qos,
      retain: p.retain,
      dup: p.dup,
      id: p.messageId,
      properties: text(p.properties)
    }))
  },

  subscribe ({ topic, options }) {
    client.subscribe(topic, options, (err, granted) => {
      if (err) return fault(err)
      say({ on: 'subscribed', granted: granted.map((g) => g.qos) })
    })
  },

  publish ({ topic, payload, options }) {
    let sent
    client.once('packetsend', (p) => { sent = { topic: p.topic, alias: p.properties?.topicAlias } })
    client.publish(topic, payload, { ...options, properties: bytes(options.properties) }, (err) => {
      if (err) return fault(err)
      say({ on: 'published', ...sent })
    })
  },

  // flow publishes n numbered messages in order, a window of them at a time.
  flow ({ n, topics, qos, window }) {
    let next = 0
    let flying = 0
    let up = client.connected
    const more = () => {
      while (up && next < n && flying < window) {
        const i = next++
        flying++
        client.publish(`flow/topic/${i % topics}`, String(Math.floor(i / topics)), { qos }, (err) => {
          flying--
          // 0x92: the broker has answered this PUBREL before.
          if (err && err.code !== 0x92) fault(err)
          more()
        })
      }
    }
    client.on('connect', () => { up = true; more() })
    client.on('close', () => { up = false })
    more()
  }
}

const input = createInterface({ input: process.stdin })
input.on('line', (line) => {
  const command = JSON.parse(line)
  commands[command.do](command)
})
input.on('close', () => process.exit(0)) // whoever started this is gone
