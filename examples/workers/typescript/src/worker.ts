// A worker on a Tenon cluster: mutual TLS, a token that is renewed while the
// worker runs, encrypted payloads, and a namespace.
import { NativeConnection, Worker } from '@temporalio/worker';
import * as activities from './activities';
import { type Config, TokenFile, fromEnv, readTLS, whenReplaced } from './config';
import * as payloads from './payloads';

async function main(): Promise<void> {
  const config = fromEnv();
  // The SDK reads certificates when it connects. When they are replaced, this
  // worker finishes what it does and connects anew.
  while (await runUntilCertificateChanges(config)) {
    console.error('certificate renewed, connecting anew');
  }
}

// runUntilCertificateChanges returns false if the worker was asked to stop.
async function runUntilCertificateChanges(config: Config): Promise<boolean> {
  const renewals: Promise<void>[] = [];
  const token = new TokenFile(config.tokenFile, (renewed) => {
    renewals.push(connection.setApiKey(renewed).then(() => console.error('token renewed')));
  });
  const connection = await NativeConnection.connect({
    address: config.address,
    tls: readTLS(config.tls),
    apiKey: token.current(),
  });
  let replaced = false;
  try {
    const worker = await Worker.create({
      connection,
      namespace: config.namespace,
      taskQueue: 'orders',
      workflowsPath: require.resolve('./workflows'),
      activities,
      dataConverter: { payloadCodecs: payloads.fromEnv() },
    });
    const stop = whenReplaced(config.tls.cert, () => {
      replaced = true;
      worker.shutdown();
    });
    console.log('ready');
    try {
      await worker.run();
    } finally {
      stop();
    }
  } finally {
    token.close();
    await Promise.all(renewals);
    await connection.close();
  }
  return replaced;
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
