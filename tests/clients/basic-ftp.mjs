// Drives basic-ftp against a server: node basic-ftp.mjs LIBRARY HOST PORT CA USER PASSWORD MODE VERSION LOCAL REMOTE
// Fetches /pub into LOCAL/down, stores LOCAL/down at REMOTE/up, lists it, and prints one line of JSON.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [library, host, port, ca, user, password, mode, version, local, remote] = process.argv.slice(2);
const { Client } = createRequire(import.meta.url)(library);
const client = new Client(30_000);
const secureOptions = { ca: readFileSync(ca), minVersion: version, maxVersion: version };
try {
  const secure = mode === "implicit" ? "implicit" : true;
  await client.access({ host, port: Number(port), user, password, secure, secureOptions });
  await client.downloadToDir(`${local}/down`, "/pub");
  await client.ensureDir(`${remote}/up`);
  await client.uploadFromDir(`${local}/down`);
  const files = await client.list(`${remote}/up`);
  await client.uploadFrom(`${local}/down/big.bin`, `${remote}/once`);
  await client.appendFrom(`${local}/down/small.bin`, `${remote}/once`);
  const size = await client.size(`${remote}/once`);
  console.log(JSON.stringify({ names: files.map((file) => file.name).sort(), size, version: client.ftp.socket.getProtocol() }));
} finally {
  client.close();
}
