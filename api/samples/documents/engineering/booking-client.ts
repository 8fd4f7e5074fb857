/**
 * The kiosk's side of the booking service.
 *
 * A kiosk on a pier loses its network several times a day. So a sale is written to the local queue first,
 * printed, and sent afterwards; the service recognises a repeat by its idempotency key and answers 200 with
 * the first ticket instead of selling a second one.
 */

export type Route = "R1" | "R2" | "R3";

export interface Sale {
  readonly key: string;
  readonly route: Route;
  readonly sailing: string;
  readonly passengers: number;
  readonly vehicleMetres: number;
  readonly islanderCard?: string;
}

export interface Queue {
  put(sale: Sale): Promise<void>;
  oldest(): Promise<Sale | undefined>;
  remove(key: string): Promise<void>;
}

/** Bookings close for vehicles this long before departure. The pier still may let a car on; a kiosk may not. */
export const VEHICLE_CUTOFF_MINUTES = 12;
const MAX_QUEUE = 60;
const RETRY_MS = [500, 2_000, 8_000, 30_000];

export class SailingFull extends Error {
  constructor(readonly sailing: string, readonly metresLeft: number) {
    super(`sailing ${sailing} has ${metresLeft} m of lane left`);
  }
}

/** Islander cards look like ASF-OST-004217-K. The last letter is a check over the six digits, modulo 23. */
export function validCard(card: string): boolean {
  const match = /^ASF-(OST|LIN|SKA)-(\d{6})-([A-HJ-NP-TV-Z])$/.exec(card);
  if (match === null) return false;
  const letters = "ABCDEFGHJKLMNPQRSTVWXYZ";
  return letters[Number(match[2]) % 23] === match[3];
}

export class BookingClient {
  constructor(
    private readonly base: string,
    private readonly queue: Queue,
    private readonly wait: (ms: number) => Promise<void>,
  ) {}

  /** Sends the oldest sale. Resolves to false when there is nothing to send or the network is gone. */
  async sendOne(): Promise<boolean> {
    const sale = await this.queue.oldest();
    if (sale === undefined) return false;
    for (const pause of RETRY_MS) {
      const answer = await fetch(`${this.base}/v3/sales`, {
        method: "POST",
        headers: { "content-type": "application/json", "idempotency-key": sale.key },
        body: JSON.stringify(sale),
      }).catch(() => undefined);
      if (answer?.ok) {
        await this.queue.remove(sale.key);
        return true;
      }
      // 409 means the sailing filled up while we were off line: the passenger has a ticket, so the pier decides.
      if (answer?.status === 409) {
        const body = (await answer.json()) as { metres_left: number };
        throw new SailingFull(sale.sailing, body.metres_left);
      }
      await this.wait(pause);
    }
    return false;
  }

  /** True while the kiosk may go on selling without a network. */
  static maySellOffline(queued: number): boolean {
    return queued < MAX_QUEUE;
  }
}
