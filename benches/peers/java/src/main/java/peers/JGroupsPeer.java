package peers;

import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import org.jgroups.Address;
import org.jgroups.BytesMessage;
import org.jgroups.JChannel;
import org.jgroups.Message;
import org.jgroups.Receiver;
import org.jgroups.View;

/** JGroups over TCP: a message goes to everybody; a write to one member, which answers it. */
final class JGroupsPeer implements Main.Peer, Receiver {
    private static final String STACK = """
            <config xmlns="urn:org:jgroups">
              <TCP bind_addr="127.0.0.1" bind_port="%d" port_range="0"
                   recv_buf_size="131072" send_buf_size="131072" tcp_nodelay="true"
                   buffered_input_stream_size="131072" buffered_output_stream_size="131072"
                   bundler_type="transfer-queue" bundler.max_size="140000" bundler.capacity="131072"
                   thread_pool.min_threads="0" thread_pool.max_threads="50"/>
              <TCPPING initial_hosts="127.0.0.1[%d]" port_range="0"/>
              <MERGE3 min_interval="10s" max_interval="30s"/>
              <FD_ALL3 timeout="40s" interval="5s"/>
              <VERIFY_SUSPECT2 timeout="1.5s"/>
              <pbcast.NAKACK2 use_mcast_xmit="false"/>
              <UNICAST3/>
              <pbcast.STABLE desired_avg_gossip="50s" max_bytes="4M"/>
              <pbcast.GMS print_local_addr="false" join_timeout="2s"/>
              <UFC max_credits="4M" min_threshold="0.4"/>
              <MFC max_credits="4M" min_threshold="0.4"/>
              <FRAG2 frag_size="100000"/>
            </config>
            """;

    private final Main.Job job;
    private final Sink sink;
    private final JChannel channel;
    private final CountDownLatch all;
    private final byte[][] store = new byte[Writes.KEYS][];
    /** Of the writes under way, by their number. */
    private volatile Flight flight;

    private record Flight(Writes writes, Semaphore free, long[] asked) {
    }

    JGroupsPeer(Main.Job job, Sink sink) throws Exception {
        this.job = job;
        this.sink = sink;
        all = new CountDownLatch(1);
        int port = job.ports()[job.number()];
        String stack = String.format(STACK, port, job.ports()[0]);
        channel = new JChannel(new ByteArrayInputStream(stack.getBytes(StandardCharsets.UTF_8)));
        channel.setReceiver(this);
        channel.setDiscardOwnMessages(true);
        channel.connect("peers");
    }

    @Override
    public void viewAccepted(View view) {
        if (view.size() == job.members()) {
            all.countDown();
        }
    }

    @Override
    public void awaitAll() throws Exception {
        all.await();
    }

    @Override
    public void receive(Message message) {
        if (job.role().equals("receive")) {
            sink.take(message.getArray(), message.getOffset());
        } else if (job.role().equals("backup")) {
            long number = (long) Messages.WORD.get(message.getArray(), message.getOffset());
            store[(int) (number % Writes.KEYS)] = message.getArray();
            answer(message.getSrc(), number);
        } else if (job.role().equals("write")) {
            Flight now = flight;
            long number = (long) Messages.WORD.get(message.getArray(), message.getOffset());
            now.writes.done(now.asked[(int) (number % now.asked.length)]);
            now.free.release();
        }
    }

    private void answer(Address writer, long number) {
        try {
            channel.send(new BytesMessage(writer, Writes.value(8, number)));
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    @Override
    public void publish(byte[] message, boolean paced) throws Exception {
        Message sent = new BytesMessage(null, message).setFlag(Message.TransientFlag.DONT_LOOPBACK);
        if (paced) {
            sent.setFlag(Message.Flag.DONT_BUNDLE);
        }
        channel.send(sent);
    }

    @Override
    public Writes write(int bytes, long ms, int window) throws Exception {
        Writes writes = new Writes(ms);
        Semaphore free = new Semaphore(window);
        flight = new Flight(writes, free, new long[2 * window]);
        Address backup = channel.getView().getMembers().get(1);
        for (long number = 0; !writes.isOver(); number++) {
            free.acquire();
            flight.asked[(int) (number % flight.asked.length)] = System.nanoTime();
            Message sent = new BytesMessage(backup, Writes.value(bytes, number));
            channel.send(window == 1 ? sent.setFlag(Message.Flag.DONT_BUNDLE) : sent);
        }
        free.acquire(window);
        return writes;
    }
}
