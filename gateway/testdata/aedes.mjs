// An aedes broker, which speaks MQTT 3.1.1 and forgets everything at its end.
//
//     node aedes.mjs PACKAGE_JSON PORT
//
// PACKAGE_JSON is that of the folder whose node_modules hold aedes.
import { createRequire } from 'node:module'
import { createServer } from 'node:net'

const { Aedes } = createRequire(process.argv[2])('aedes')
const broker = await Aedes.createBroker()
createServer(broker.handle).listen(Number(process.argv[3]), '127.0.0.1')
