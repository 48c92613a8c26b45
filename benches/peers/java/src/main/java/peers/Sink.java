package peers;

import java.util.TreeSet;

/** Holds what comes against what was sent: every message once, in order. */
final class Sink {
    private final Credit.Slot slot;
    private long count;
    private long next;
    private long messages;
    private long duplicated;
    private long outOfOrder;
    private final TreeSet<Long> missing = new TreeSet<>();
    private Latency latency = new Latency();

    Sink(Main.Job job) throws Exception {
        slot = job.credit() == null ? null : new Credit.Slot(job.credit(), job.number());
    }

    /** Takes one message. A peer may call from several threads in turn. */
    synchronized void take(byte[] message, int offset) {
        long number = (long) Messages.WORD.get(message, offset);
        long word = (long) Messages.WORD.get(message, offset + 8);
        messages++;
        if (number == next) {
            next++;
        } else {
            strange(number);
        }
        if (slot != null) {
            slot.tell(++count);
        }
        if ((word & (Messages.LAST | Messages.STAMP)) == 0) {
            return;
        }
        long now = System.nanoTime();
        latency.note((now & Messages.STAMP) - (word & Messages.STAMP));
        if ((word & Messages.LAST) != 0) {
            Main.say("{\"type\":\"received\",\"sender\":0,\"messages\":" + messages + ",\"lost\":" + missing.size()
                    + ",\"duplicated\":" + duplicated + ",\"out_of_order\":" + outOfOrder + ",\"last_ns\":" + now
                    + ",\"latency\":" + latency + "}");
            next = messages = duplicated = outOfOrder = 0;
            missing.clear();
            latency = new Latency();
        }
    }

    private void strange(long number) {
        if (number >= next) {
            for (; next < number; next++) {
                missing.add(next);
            }
            next++;
        } else if (missing.remove(number)) {
            outOfOrder++;
        } else {
            duplicated++;
        }
    }
}
