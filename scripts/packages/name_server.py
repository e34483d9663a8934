"""A name server on 127.0.0.1 that knows origin.dns.test, and many.dns.test by 60 addresses, too many for a datagram."""

import socket, socketserver, struct, threading

def answer(query, limit):
    name, at = [], 12
    while query[at]:
        name.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    question, kind = query[12:at + 5], struct.unpack("!H", query[at + 1:at + 3])[0]
    known = {"origin.dns.test": [9], "many.dns.test": range(9, 69)}.get(".".join(name))
    records = b"".join(
        b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04" + bytes([127, 0, 0, last])
        for last in known or [] if kind == 1)
    count = len(records) // 16
    flags = 0x8180 if known else 0x8183
    if 12 + len(question) + len(records) > limit:
        flags, count, records = flags | 0x0200, 0, b""
    return query[:2] + struct.pack("!HHHHH", flags, 1, count, 0, 0) + question + records

class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        query, reply_to = self.request
        reply_to.sendto(answer(query, 512), self.client_address)

class Stream(socketserver.BaseRequestHandler):
    def handle(self):
        while size := self.request.recv(2, socket.MSG_WAITALL):
            message = answer(self.request.recv(struct.unpack("!H", size)[0], socket.MSG_WAITALL), 65535)
            self.request.sendall(struct.pack("!H", len(message)) + message)

servers = [socketserver.UDPServer(("127.0.0.1", 53), Datagram),
           socketserver.TCPServer(("127.0.0.1", 53), Stream)]
for server in servers:
    threading.Thread(target=server.serve_forever).start()
print("ready")
