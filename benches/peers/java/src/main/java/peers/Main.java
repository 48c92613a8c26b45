package peers;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/** One process of a peer: {@code Main PEER ROLE key=value...}. It does what lines on its stdin tell it. */
public final class Main {
    /** What a process is told when it starts. */
    record Job(String role, int number, int members, int[] ports, String credit) {
        boolean writes() {
            return role.equals("write") || role.equals("backup");
        }

        boolean isFirst() {
            return number == 0;
        }
    }

    /** A peer: it joins when it is made. */
    interface Peer {
        /** Waits until all members are there. */
        void awaitAll() throws Exception;

        /** Sends to all others. The bytes are this method's to keep. */
        void publish(byte[] message, boolean paced) throws Exception;

        /** Writes, and waits for acknowledgements: a window of writes for so long. */
        Writes write(int bytes, long ms, int window) throws Exception;
    }

    public static void main(String[] words) throws Exception {
        try {
            run(words);
        } catch (Throwable error) {
            // The threads of a cluster would keep the process alive.
            error.printStackTrace();
            System.exit(1);
        }
    }

    private static void run(String[] words) throws Exception {
        Job job = job(words);
        Sink sink = new Sink(job);
        Peer peer = switch (words[0]) {
            case "jgroups" -> new JGroupsPeer(job, sink);
            case "hazelcast" -> new HazelcastPeer(job, sink);
            case "tribes" -> new TribesPeer(job, sink);
            default -> throw new IllegalArgumentException(words[0]);
        };
        if (job.isFirst()) {
            say("{\"type\":\"linked\"}");
        }
        peer.awaitAll();
        say("{\"type\":\"linked\"}");
        obey(job, peer);
    }

    private static Job job(String[] words) {
        Map<String, String> told = new HashMap<>();
        for (String word : Arrays.copyOfRange(words, 2, words.length)) {
            String[] parts = word.split("=", 2);
            told.put(parts[0], parts[1]);
        }
        int[] ports = Arrays.stream(told.get("ports").split(",")).mapToInt(Integer::parseInt).toArray();
        int number = Integer.parseInt(told.get("number"));
        return new Job(words[1], number, Integer.parseInt(told.get("members")), ports, told.get("credit"));
    }

    /** {@code stream BYTES MS EVERY_US WINDOW_BYTES} and {@code write BYTES MS WINDOW}, until stdin ends. */
    private static void obey(Job job, Peer peer) throws Exception {
        Credit credit = job.credit() == null ? null : new Credit(job.credit());
        BufferedReader orders = new BufferedReader(new InputStreamReader(System.in));
        for (String line = orders.readLine(); line != null; line = orders.readLine()) {
            String[] words = line.split(" ");
            int bytes = Integer.parseInt(words[1]);
            long ms = Long.parseLong(words[2]);
            if (words[0].equals("stream")) {
                long everyUs = Long.parseLong(words[3]);
                long window = Math.max(Long.parseLong(words[4]) / bytes, 16);
                say(stream(job, peer, credit, bytes, ms, everyUs, window));
            } else {
                say(peer.write(bytes, ms, Integer.parseInt(words[3])).line());
            }
        }
        System.exit(0);
    }

    private static String stream(Job job, Peer peer, Credit credit, int bytes, long ms, long everyUs, long window)
            throws Exception {
        Messages source = new Messages(bytes, ms, everyUs > 0);
        long due = System.nanoTime();
        while (!source.ended()) {
            if (everyUs > 0) {
                due += everyUs * 1_000;
                Credit.restUntil(due);
            }
            peer.publish(source.next(), everyUs > 0);
            if (credit != null) {
                credit.take(1, job.members(), window);
            }
        }
        return "{\"type\":\"sent\",\"messages\":" + source.count() + ",\"first_ns\":" + source.firstNs() + "}";
    }

    /** A line to whoever started it. */
    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
