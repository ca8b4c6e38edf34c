export async function charge(order: string): Promise<string> {
  return `charged ${order}`;
}
