"""A Modbus slave for the interoperability tests, served by pymodbus.

usage: slave.py rtu|ascii PORT | slave.py tcp|rtu-tcp|ascii-tcp PORTNUMBER

Unit 7. Holding and input registers hold one value for each type and order,
packed by struct; the letters of the order name the bytes as they are sent.
Addresses: 10 * the place of the type + 2 * the place of the order. Registers
90 to 99, coils and discrete inputs 0 to 19 (every third one on) are free to
be written.
"""

import struct
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartSerialServer, StartTcpServer
from pymodbus.transaction import ModbusAsciiFramer, ModbusRtuFramer, ModbusSocketFramer

VALUES = [(">H", 54321), (">h", -12345), (">I", 3123456789), (">i", -1234567890), (">f", 21.4)]
ORDERS = ["ABCD", "CDAB", "BADC", "DCBA"]

registers = [0] * 100
for i, (form, value) in enumerate(VALUES):
    big = struct.pack(form, value)
    for j, order in enumerate(ORDERS):
        letters = [x for x in order if "ABCD".index(x) < len(big)]
        wire = bytes(big["ABCD".index(x)] for x in letters)
        words = struct.unpack(">%dH" % (len(wire) // 2), wire)
        at = 10 * i + 2 * j
        registers[at:at + len(words)] = words
bits = [i % 3 == 0 for i in range(20)]

unit = ModbusSlaveContext(
    di=ModbusSequentialDataBlock(0, list(bits)),
    co=ModbusSequentialDataBlock(0, list(bits)),
    hr=ModbusSequentialDataBlock(0, list(registers)),
    ir=ModbusSequentialDataBlock(0, list(registers)),
    zero_mode=True,
)
context = ModbusServerContext(slaves={7: unit}, single=False)

framer = {"rtu": ModbusRtuFramer, "ascii": ModbusAsciiFramer, "tcp": ModbusSocketFramer}[sys.argv[1].split("-")[0]]
if sys.argv[1] in ("rtu", "ascii"):
    StartSerialServer(context=context, framer=framer, port=sys.argv[2], baudrate=115200)
else:
    StartTcpServer(context=context, framer=framer, address=("127.0.0.1", int(sys.argv[2])))
