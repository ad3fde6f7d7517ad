"""A Modbus slave for the interoperability tests, served by pymodbus.

usage: slave.py rtu|ascii PORT | slave.py tcp|rtu-tcp|ascii-tcp PORTNUMBER

Unit 7. Holding and input registers hold one value for each type and order,
packed by struct; the letters of the order name the bytes as they are sent.
Addresses: 10 * the place of the type + 2 * the place of the order. Registers
90 to 99, coils and discrete inputs 0 to 19 (every third one on) are free to
be written.

From 100 on, 16 registers a type and 4 an order, are the types of four registers
as pymodbus packs them itself, then half floats, and at 168 a text.
"""

import struct
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.constants import Endian
from pymodbus.payload import BinaryPayloadBuilder
from pymodbus.device import ModbusControlBlock
from pymodbus.server import StartSerialServer, StartTcpServer
from pymodbus.transaction import ModbusAsciiFramer, ModbusRtuFramer, ModbusSocketFramer

VALUES = [(">H", 54321), (">h", -12345), (">I", 3123456789), (">i", -1234567890), (">f", 21.4)]
ORDERS = ["ABCD", "CDAB", "BADC", "DCBA"]

registers = [0] * 200
for i, (form, value) in enumerate(VALUES):
    big = struct.pack(form, value)
    for j, order in enumerate(ORDERS):
        letters = [x for x in order if "ABCD".index(x) < len(big)]
        wire = bytes(big["ABCD".index(x)] for x in letters)
        words = struct.unpack(">%dH" % (len(wire) // 2), wire)
        at = 10 * i + 2 * j
        registers[at:at + len(words)] = words

for j in range(4):
    swapped, reversed_ = j >= 2, j % 2 == 1
    for i, (add, value) in enumerate([
        ("add_64bit_uint", 18446744073709551614), ("add_64bit_int", -9223372036854775807), ("add_64bit_float", 21.4), ("add_16bit_float", -21.4),
    ]):
        builder = BinaryPayloadBuilder(
            byteorder=Endian.Little if swapped else Endian.Big, wordorder=Endian.Little if reversed_ else Endian.Big)
        getattr(builder, add)(value)
        words = builder.to_registers()
        at = 100 + 16 * i + 4 * j
        registers[at:at + len(words)] = words
text = BinaryPayloadBuilder(byteorder=Endian.Big)
text.add_string("SN 4711  ")
registers[168:173] = [int.from_bytes(text.to_string()[k:k + 2].ljust(2, b"\0"), "big") for k in range(0, 10, 2)]

bits = [i % 3 == 0 for i in range(20)]

unit = ModbusSlaveContext(
    di=ModbusSequentialDataBlock(0, list(bits)),
    co=ModbusSequentialDataBlock(0, list(bits)),
    hr=ModbusSequentialDataBlock(0, list(registers)),
    ir=ModbusSequentialDataBlock(0, list(registers)),
    zero_mode=True,
)
context = ModbusServerContext(slaves={7: unit}, single=False)
ModbusControlBlock().Identity.update({0: "vendor", 1: "product", 2: "1.0"})

framer = {"rtu": ModbusRtuFramer, "ascii": ModbusAsciiFramer, "tcp": ModbusSocketFramer}[sys.argv[1].split("-")[0]]
if sys.argv[1] in ("rtu", "ascii"):
    StartSerialServer(context=context, framer=framer, port=sys.argv[2], baudrate=115200)
else:
    StartTcpServer(context=context, framer=framer, address=("127.0.0.1", int(sys.argv[2])))
