import { proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities';

const { charge } = proxyActivities<typeof activities>({ startToCloseTimeout: '1 minute' });

// OrderWorkflow is the same in every language of these examples.
export async function OrderWorkflow(order: string): Promise<string> {
  return await charge(order);
}
