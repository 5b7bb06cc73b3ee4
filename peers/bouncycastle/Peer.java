// Bouncy Castle as a client and server with pre-shared keys, over DTLS 1.2 and TLS 1.2.
//
// It reads jobs from standard input, one a line, and ends with it:
//
//   NUMBER client|server dtls|tls PORT SUITE GROUP IDENTITY KEY
//
// SUITE and GROUP are code points and KEY is bytes, all in hexadecimal. What comes of a job is printed
// in lines that begin with its number: "listening" (servers), "established suite=S group=G ems=B",
// "heard TEXT", and at the end "done" or "failed REASON".

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import java.util.Arrays;
import java.util.Vector;

import org.bouncycastle.tls.AlertDescription;
import org.bouncycastle.tls.BasicTlsPSKIdentity;
import org.bouncycastle.tls.DTLSClientProtocol;
import org.bouncycastle.tls.DTLSRequest;
import org.bouncycastle.tls.DTLSServerProtocol;
import org.bouncycastle.tls.DTLSTransport;
import org.bouncycastle.tls.DTLSVerifier;
import org.bouncycastle.tls.DatagramSender;
import org.bouncycastle.tls.PSKTlsClient;
import org.bouncycastle.tls.PSKTlsServer;
import org.bouncycastle.tls.ProtocolVersion;
import org.bouncycastle.tls.SecurityParameters;
import org.bouncycastle.tls.TlsClientProtocol;
import org.bouncycastle.tls.TlsContext;
import org.bouncycastle.tls.TlsFatalAlert;
import org.bouncycastle.tls.TlsPSKIdentityManager;
import org.bouncycastle.tls.TlsProtocol;
import org.bouncycastle.tls.TlsServerProtocol;
import org.bouncycastle.tls.UDPTransport;
import org.bouncycastle.tls.crypto.TlsCrypto;
import org.bouncycastle.tls.crypto.impl.bc.BcTlsCrypto;
import org.bouncycastle.util.encoders.Hex;

public final class Peer {
    private static final byte[] SAYS = "peer speaks as well\n".getBytes(StandardCharsets.US_ASCII);

    // Longer than the other end's own limit for a handshake, so that it is the one to give up.
    private static final int LIMIT_MILLIS = 8_000;

    private static final int DATAGRAM_LEN = 1_500;

    public static void main(String[] args) throws IOException {
        System.out.println(
            "peer Bouncy Castle " + BcTlsCrypto.class.getPackage().getImplementationVersion());
        BufferedReader jobs = new BufferedReader(new InputStreamReader(System.in));
        for (String line = jobs.readLine(); line != null; line = jobs.readLine()) {
            String[] words = line.trim().split(" ");
            Thread thread = new Thread(() -> new Job(words).run());
            thread.setDaemon(true);
            thread.start();
        }
    }

    private static final class Job {
        final String number;
        final boolean isClient;
        final boolean isDatagram;
        final int port;
        final int suite;
        final int group;
        final byte[] identity;
        final byte[] key;
        final TlsCrypto crypto = new BcTlsCrypto(new SecureRandom());
        int chosenGroup = -1;

        Job(String[] words) {
            number = words[0];
            isClient = words[1].equals("client");
            isDatagram = words[2].equals("dtls");
            port = Integer.parseInt(words[3]);
            suite = Integer.parseInt(words[4], 16);
            group = Integer.parseInt(words[5], 16);
            identity = words[6].getBytes(StandardCharsets.UTF_8);
            key = Hex.decode(words[7]);
        }

        void say(String text) {
            System.out.println(number + " " + text.trim());
        }

        void run() {
            try {
                if (isDatagram && isClient) {
                    datagramClient();
                } else if (isDatagram) {
                    datagramServer();
                } else if (isClient) {
                    streamClient();
                } else {
                    streamServer();
                }
                say("done");
            } catch (TlsFatalAlert alert) {
                say("failed " + AlertDescription.getText(alert.getAlertDescription()));
            } catch (Exception error) {
                say("failed " + error);
            }
        }

        private void datagramClient() throws IOException {
            try (DatagramSocket socket = new DatagramSocket(new InetSocketAddress(loopback(), 0))) {
                socket.connect(loopback(), port);
                UDPTransport udp = new UDPTransport(socket, DATAGRAM_LEN);
                DTLSTransport dtls = new DTLSClientProtocol().connect(new Client(this), udp);
                dtls.send(SAYS, 0, SAYS.length);
                hear(dtls);
                dtls.close();
            }
        }

        private void datagramServer() throws IOException {
            try (DatagramSocket socket = new DatagramSocket(new InetSocketAddress(loopback(), port))) {
                socket.setSoTimeout(LIMIT_MILLIS);
                say("listening");
                DTLSVerifier verifier = new DTLSVerifier(crypto);
                DTLSRequest request = null;
                while (request == null) {
                    byte[] bytes = new byte[DATAGRAM_LEN];
                    DatagramPacket packet = new DatagramPacket(bytes, bytes.length);
                    socket.receive(packet);
                    request = verifier.verifyRequest(
                        packet.getSocketAddress().toString().getBytes(StandardCharsets.US_ASCII),
                        bytes, 0, packet.getLength(), answerTo(socket, packet));
                    if (request != null) {
                        socket.connect(packet.getSocketAddress());
                    }
                }
                UDPTransport udp = new UDPTransport(socket, DATAGRAM_LEN);
                DTLSTransport dtls = new DTLSServerProtocol().accept(new Server(this), udp, request);
                hear(dtls);
                dtls.send(SAYS, 0, SAYS.length);
                dtls.close();
            }
        }

        private static DatagramSender answerTo(DatagramSocket socket, DatagramPacket packet) {
            return new DatagramSender() {
                public int getSendLimit() {
                    return DATAGRAM_LEN;
                }

                public void send(byte[] bytes, int offset, int len) throws IOException {
                    socket.send(new DatagramPacket(bytes, offset, len, packet.getSocketAddress()));
                }
            };
        }

        private void hear(DTLSTransport dtls) throws IOException {
            byte[] text = new byte[DATAGRAM_LEN];
            int len = dtls.receive(text, 0, text.length, LIMIT_MILLIS);
            if (len < 0) {
                throw new IOException("nothing heard");
            }
            say("heard " + new String(text, 0, len, StandardCharsets.US_ASCII));
        }

        private void streamClient() throws IOException {
            try (Socket socket = new Socket(loopback(), port)) {
                socket.setTcpNoDelay(true);
                socket.setSoTimeout(LIMIT_MILLIS);
                TlsClientProtocol tls =
                    new TlsClientProtocol(socket.getInputStream(), socket.getOutputStream());
                tls.connect(new Client(this));
                tls.getOutputStream().write(SAYS);
                hear(tls);
                tls.close();
            }
        }

        private void streamServer() throws IOException {
            try (ServerSocket listener = new ServerSocket(port, 1, loopback())) {
                listener.setSoTimeout(LIMIT_MILLIS);
                say("listening");
                try (Socket socket = listener.accept()) {
                    socket.setTcpNoDelay(true);
                    socket.setSoTimeout(LIMIT_MILLIS);
                    TlsServerProtocol tls =
                        new TlsServerProtocol(socket.getInputStream(), socket.getOutputStream());
                    tls.accept(new Server(this));
                    hear(tls);
                    tls.getOutputStream().write(SAYS);
                    tls.close();
                }
            }
        }

        private void hear(TlsProtocol tls) throws IOException {
            byte[] text = new byte[DATAGRAM_LEN];
            int len = tls.getInputStream().read(text);
            if (len < 0) {
                throw new IOException("nothing heard");
            }
            say("heard " + new String(text, 0, len, StandardCharsets.US_ASCII));
        }

        void established(TlsContext context) {
            SecurityParameters negotiated = context.getSecurityParametersConnection();
            say(String.format(
                "established suite=%04x group=%04x ems=%b",
                negotiated.getCipherSuite(), chosenGroup & 0xffff, negotiated.isExtendedMasterSecret()));
        }

        ProtocolVersion[] versions() {
            ProtocolVersion version = isDatagram ? ProtocolVersion.DTLSv12 : ProtocolVersion.TLSv12;
            return version.only();
        }

        private static InetAddress loopback() {
            return InetAddress.getLoopbackAddress();
        }
    }

    private static final class Client extends PSKTlsClient {
        private final Job job;

        Client(Job job) {
            super(job.crypto, new BasicTlsPSKIdentity(job.identity, job.key));
            this.job = job;
        }

        @Override
        protected int[] getSupportedCipherSuites() {
            return new int[] {job.suite};
        }

        @Override
        protected ProtocolVersion[] getSupportedVersions() {
            return job.versions();
        }

        @Override
        @SuppressWarnings({"rawtypes", "unchecked"})
        protected Vector getSupportedGroups(Vector roles) {
            // The one group offered is the one that the server has to choose.
            job.chosenGroup = job.group;
            Vector groups = new Vector();
            groups.add(job.group);
            return groups;
        }

        @Override
        public boolean requiresExtendedMasterSecret() {
            return true;
        }

        @Override
        public int getHandshakeTimeoutMillis() {
            return LIMIT_MILLIS;
        }

        @Override
        public void notifyHandshakeComplete() throws IOException {
            super.notifyHandshakeComplete();
            job.established(context);
        }
    }

    private static final class Server extends PSKTlsServer {
        private final Job job;

        Server(Job job) {
            super(job.crypto, new TlsPSKIdentityManager() {
                public byte[] getHint() {
                    return null;
                }

                public byte[] getPSK(byte[] identity) {
                    return Arrays.equals(identity, job.identity) ? job.key.clone() : null;
                }
            });
            this.job = job;
        }

        @Override
        protected int[] getSupportedCipherSuites() {
            return new int[] {job.suite};
        }

        @Override
        protected ProtocolVersion[] getSupportedVersions() {
            return job.versions();
        }

        @Override
        public int[] getSupportedGroups() {
            return new int[] {job.group};
        }

        @Override
        protected int selectECDH(int minimumBits) {
            job.chosenGroup = super.selectECDH(minimumBits);
            return job.chosenGroup;
        }

        @Override
        public boolean requiresExtendedMasterSecret() {
            return true;
        }

        @Override
        public int getHandshakeTimeoutMillis() {
            return LIMIT_MILLIS;
        }

        @Override
        public void notifyHandshakeComplete() throws IOException {
            super.notifyHandshakeComplete();
            job.established(context);
        }
    }
}
