import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.common.utils.Exit;

/**
 * Kafka's command line tools, one after another in one JVM: a start for each would cost seconds.
 *
 * A line of input is the class of a tool and its arguments, separated by tabs. What the tool prints, also as errors, is
 * followed by a line "DONE" and its exit status.
 */
public final class Tools {
    /** How the tool that runs now has ended. */
    private static volatile CompletableFuture<Integer> ended;

    public static void main(String[] none) throws Exception {
        Exit.setExitProcedure((status, message) -> end(status));
        Exit.setHaltProcedure((status, message) -> end(status));
        PrintStream out = System.out;
        System.setErr(out);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split("\t");
            String[] arguments = Arrays.copyOfRange(words, 1, words.length);
            ended = new CompletableFuture<>();
            Thread thread = new Thread(() -> run(words[0], arguments, out));
            thread.setDaemon(true);
            thread.start();
            int status = ended.get();
            out.println();
            out.println("DONE " + status);
            out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    /** Nothing of a tool may run behind its exit, not even what catches all exceptions. */
    private static void end(int status) {
        ended.complete(status);
        while (true) {
            LockSupport.park();
        }
    }

    private static void run(String tool, String[] arguments, PrintStream out) {
        int status = 0;
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (InvocationTargetException thrown) {
            thrown.getCause().printStackTrace(out);
            status = 1;
        } catch (ReflectiveOperationException missing) {
            missing.printStackTrace(out);
            status = 1;
        }
        ended.complete(status);
    }
}
