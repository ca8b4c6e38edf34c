// Where the cluster is and who this process is, from the variables that every
// Temporal SDK and the temporal CLI read, and from TENON_TOKEN_FILE: a file that
// holds the token and is replaced before the token expires.
import { readFileSync, unwatchFile, watchFile } from 'node:fs';

export interface Config {
  address: string;
  namespace: string;
  tokenFile: string;
  tls: TLSFiles;
}

interface TLSFiles {
  serverName: string;
  ca: string;
  cert: string;
  key: string;
}

export function fromEnv(): Config {
  return {
    address: need('TEMPORAL_ADDRESS'),
    namespace: process.env.TEMPORAL_NAMESPACE || 'default',
    tokenFile: need('TENON_TOKEN_FILE'),
    tls: {
      // The name that every server of a Tenon cluster carries in its certificate.
      serverName: process.env.TEMPORAL_TLS_SERVER_NAME || 'temporal-server',
      ca: need('TEMPORAL_TLS_SERVER_CA_CERT_PATH'),
      cert: need('TEMPORAL_TLS_CLIENT_CERT_PATH'),
      key: need('TEMPORAL_TLS_CLIENT_KEY_PATH'),
    },
  };
}

function need(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

// readTLS reads the certificates as they are now, in the form that the SDK takes.
export function readTLS(files: TLSFiles) {
  return {
    serverNameOverride: files.serverName,
    serverRootCACertificate: readFileSync(files.ca),
    clientCertPair: { crt: readFileSync(files.cert), key: readFileSync(files.key) },
  };
}

// TokenFile is the current content of a token file. It looks for a new one every
// two seconds, so that no call waits for the disk. While there is none it keeps
// the last token, which expires by itself.
export class TokenFile {
  private token: string;

  constructor(
    private readonly path: string,
    private readonly renewed: (token: string) => void = () => {},
  ) {
    this.token = this.read();
    watchFile(path, { interval: 2000, persistent: false }, () => this.look());
  }

  current(): string {
    return this.token;
  }

  close(): void {
    unwatchFile(this.path);
  }

  private look(): void {
    let token: string;
    try {
      token = this.read();
    } catch (err) {
      console.error('token file not taken over, the last token stays in use:', err);
      return;
    }
    if (token === this.token) return;
    this.token = token;
    this.renewed(token);
  }

  private read(): string {
    const token = readFileSync(this.path, 'utf8').trim();
    if (!token) throw new Error(`${this.path} is empty`);
    return token;
  }
}

// whenReplaced calls back once, when a file is replaced.
export function whenReplaced(path: string, then: () => void): () => void {
  const stop = () => unwatchFile(path);
  watchFile(path, { interval: 2000, persistent: false }, (now, before) => {
    if (now.mtimeMs === before.mtimeMs && now.ino === before.ino) return;
    if (now.nlink === 0) return; // gone for the moment between two names
    stop();
    then();
  });
  return stop;
}
