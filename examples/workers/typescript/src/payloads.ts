// Payload encryption in the format of package internal/codec, so that workers and
// clients in Go and TypeScript read each other's payloads and the cluster reads
// none:
//
//   metadata   encoding           binary/encrypted
//              encryption-cipher  XAES-256-GCM
//              encryption-key-id  the key's id
//   data       nonce (24 bytes), ciphertext, tag (16 bytes)
//   plaintext  0 and the payload as protobuf, or 1 and the same after DEFLATE
//
// XAES-256-GCM (c2sp.org/XAES-256-GCM) is AES-256-GCM under a key derived for each
// message, so that one key may encrypt any number of them with random nonces.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { inflateRawSync } from 'node:zlib';
import { type Payload, type PayloadCodec, ValueError } from '@temporalio/common';
import { temporal } from '@temporalio/proto';

const ENCODING = 'binary/encrypted';
const CIPHER = 'XAES-256-GCM';
const NONCE = 24;
const TAG = 16;
const MAX_DECODED = 32 << 20; // a few kilobytes of DEFLATE can unfold into gigabytes
const RELOAD_PAUSE = 1000; // milliseconds between two looks for a key that is not there

const text = (data: Uint8Array | null | undefined) => Buffer.from(data ?? []).toString('utf8');

// fromEnv returns the codec, or none if TENON_PAYLOAD_KEY_FILE is not set.
export function fromEnv(): PayloadCodec[] {
  const file = process.env.TENON_PAYLOAD_KEY_FILE;
  return file ? [new EncryptionCodec(file)] : [];
}

export class EncryptionCodec implements PayloadCodec {
  private keys: Map<string, Buffer>;
  private read = Date.now();

  constructor(private readonly file: string) {
    this.keys = readKeys(file);
  }

  async encode(payloads: Payload[]): Promise<Payload[]> {
    const [id, key] = this.keys.entries().next().value as [string, Buffer]; // the first encrypts
    return payloads.map((payload) => {
      const nonce = randomBytes(NONCE);
      const cipher = createCipheriv('aes-256-gcm', derive(key, nonce), nonce.subarray(12));
      cipher.setAAD(associated(id));
      const plain = Buffer.concat([Buffer.of(0), temporal.api.common.v1.Payload.encode(payload).finish()]);
      return {
        metadata: {
          encoding: Buffer.from(ENCODING),
          'encryption-cipher': Buffer.from(CIPHER),
          'encryption-key-id': Buffer.from(id),
        },
        data: Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]),
      };
    });
  }

  async decode(payloads: Payload[]): Promise<Payload[]> {
    return payloads.map((payload) => {
      if (text(payload.metadata?.encoding) !== ENCODING) return payload;
      return this.open(payload);
    });
  }

  private open(payload: Payload): Payload {
    const name = text(payload.metadata?.['encryption-cipher']);
    if (name !== CIPHER) throw new ValueError('encrypted payload has an unknown cipher');
    const id = text(payload.metadata?.['encryption-key-id']);
    const data = Buffer.from(payload.data ?? []);
    if (data.length < NONCE + TAG + 1 || data.length > MAX_DECODED) throw new ValueError('encrypted payload has an impossible length');
    const nonce = data.subarray(0, NONCE);
    const decipher = createDecipheriv('aes-256-gcm', derive(this.key(id), nonce), nonce.subarray(12), { authTagLength: TAG });
    decipher.setAAD(associated(id));
    decipher.setAuthTag(data.subarray(data.length - TAG));
    let plain: Buffer;
    try {
      plain = Buffer.concat([decipher.update(data.subarray(NONCE, data.length - TAG)), decipher.final()]);
    } catch {
      throw new ValueError('encrypted payload is corrupt or was tampered with');
    }
    let body = plain.subarray(1);
    if (plain[0] === 1) body = inflateRawSync(body, { maxOutputLength: MAX_DECODED });
    else if (plain[0] !== 0) throw new ValueError('encrypted payload has an unknown form');
    return temporal.api.common.v1.Payload.decode(body);
  }

  // key finds a key, once more after the file was read again: another process may
  // have added it.
  private key(id: string): Buffer {
    if (!this.keys.has(id) && Date.now() - this.read >= RELOAD_PAUSE) {
      this.read = Date.now();
      this.keys = readKeys(this.file);
    }
    const key = this.keys.get(id);
    if (!key) throw new ValueError('payload was encrypted with an unknown key');
    return key;
  }
}

// associated is what a payload is bound to besides its key: relabelling it makes
// it fail.
function associated(id: string): Buffer {
  return Buffer.from(`tenon payload 1\0${ENCODING}\0${CIPHER}\0${id}\0`);
}

// derive is the key of one message: AES-CMAC of its nonce's first half in counter
// mode (NIST SP 800-108r1).
function derive(key: Buffer, nonce: Buffer): Buffer {
  const subkey = block(key, Buffer.alloc(16));
  const top = subkey[0] >> 7;
  for (let i = 0; i < 16; i++) subkey[i] = (subkey[i] << 1) | ((subkey[i + 1] ?? 0) >> 7);
  subkey[15] ^= top * 0x87;
  const half = (counter: number) => {
    const message = Buffer.concat([Buffer.of(0, counter, 0x58 /* X */, 0), nonce.subarray(0, 12)]);
    for (let i = 0; i < 16; i++) message[i] ^= subkey[i];
    return block(key, message);
  };
  return Buffer.concat([half(1), half(2)]);
}

// block is AES-256 of one block.
function block(key: Buffer, input: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-ecb', key, null);
  cipher.setAutoPadding(false);
  return Buffer.concat([cipher.update(input), cipher.final()]);
}

function readKeys(file: string): Map<string, Buffer> {
  if (process.platform !== 'win32' && (statSync(file).mode & 0o037) !== 0) {
    throw new Error(`${file}: others may read or change the keys (chmod 600)`);
  }
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line && !line.startsWith('#'));
  if (lines.shift() !== 'tenon-payload-keys 1') throw new Error(`${file} is no file of payload keys of version 1`);
  const keys = new Map<string, Buffer>();
  for (const line of lines) {
    const [id, encoded] = line.split(/\s+/);
    const key = Buffer.from(encoded ?? '', 'base64');
    if (key.length !== 32) throw new Error(`${file}: a key has not 32 bytes`);
    keys.set(id, key);
  }
  if (keys.size === 0) throw new Error(`${file} holds no key`);
  return keys;
}
