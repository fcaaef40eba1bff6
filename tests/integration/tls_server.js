/*
 * A database server whose TLS is Node's: it reads and writes the socket itself and hands OpenSSL the bytes.
 * Protocol and command line as in tls_server.c.
 */
"use strict";
const fs = require("fs");
const net = require("net");
const tls = require("tls");

const [port, key, cert] = process.argv.slice(2);
const secureContext = tls.createSecureContext({ key: fs.readFileSync(key), cert: fs.readFileSync(cert) });
let lastId = 0;

function packet(sequence, body) {
	return Buffer.concat([Buffer.from([body.length, 0, 0, sequence]), body]);
}

function greeting(id) {
	const number = Buffer.alloc(4);

	number.writeUInt32LE(id);
	return packet(0, Buffer.concat([Buffer.from("\n9.9.9-tls\0"), number, Buffer.from("scramble\0"),
		Buffer.from([0x08, 0xaa, 0x21, 0x02, 0x00, 0x08, 0x00, 0x15]), Buffer.alloc(10),
		Buffer.from("scramble4321\0mysql_native_password\0")]));
}

function ok(sequence) {
	return packet(sequence, Buffer.from([0, 0, 0, 2, 0, 0, 0]));
}

/* Calls `each` with every whole packet that comes. */
function packets(stream, each) {
	let have = Buffer.alloc(0);

	stream.on("data", (data) => {
		have = Buffer.concat([have, data]);
		while (have.length >= 4 && have.length >= 4 + have.readUIntLE(0, 3)) {
			const end = 4 + have.readUIntLE(0, 3);

			each(have.subarray(4, end));
			have = have.subarray(end);
		}
	});
	stream.on("error", () => stream.destroy());
}

function serve(stream) {
	let loggedIn = false;

	packets(stream, (body) => {
		const sleep = /^sleep (\d+)$/.exec(body.subarray(1).toString());

		if (!loggedIn) {
			loggedIn = true;
			stream.write(ok(3));
		} else if (body[0] === 1) {
			stream.end();
		} else {
			setTimeout(() => stream.write(ok(1)), sleep ? Number(sleep[1]) : 0);
		}
	});
}

net.createServer((socket) => {
	socket.on("error", () => socket.destroy());
	socket.write(greeting(++lastId));
	/* The client's handshake may come with its request for TLS. */
	socket.once("data", (data) => {
		socket.pause();
		socket.unshift(data.subarray(36));
		serve(new tls.TLSSocket(socket, { isServer: true, secureContext }));
	});
}).listen(Number(port), "127.0.0.1", () => console.log("ready"));
