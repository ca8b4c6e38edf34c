// A program that starts a workflow on a Tenon cluster and waits for its result.
import { Client, Connection } from '@temporalio/client';
import { TokenFile, fromEnv, readTLS } from './config';
import * as payloads from './payloads';

async function main(order: string): Promise<void> {
  const config = fromEnv();
  const token = new TokenFile(config.tokenFile);
  const connection = await Connection.connect({
    address: config.address,
    tls: readTLS(config.tls),
    apiKey: () => token.current(), // asked before every call
  });
  try {
    const client = new Client({
      connection,
      namespace: config.namespace,
      dataConverter: { payloadCodecs: payloads.fromEnv() },
    });
    const result: string = await client.workflow.execute('OrderWorkflow', {
      taskQueue: 'orders',
      workflowId: `order-${order}`,
      args: [order],
    });
    console.log(result);
  } finally {
    token.close();
    await connection.close();
  }
}

main(process.argv[2] ?? '1').catch((err) => {
  console.error(err);
  process.exit(1);
});
