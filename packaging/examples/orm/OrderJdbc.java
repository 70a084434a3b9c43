// JDBC: an order and its messages, in one transaction.
//
//   JDBC_URL='jdbc:postgresql://localhost/shop?user=shop' java -cp /usr/share/java/postgresql.jar OrderJdbc.java
import java.nio.charset.StandardCharsets;
import java.sql.*;

class OrderJdbc {
	static long insert(Connection db, String sql, Object... values) throws SQLException {
		try (PreparedStatement statement = db.prepareStatement(sql, new String[] {"id"})) { // the driver adds RETURNING "id"
			for (int i = 0; i < values.length; i++)
				statement.setObject(i + 1, values[i]);
			statement.executeUpdate();
			try (ResultSet keys = statement.getGeneratedKeys()) {
				keys.next();
				return keys.getLong(1);
			}
		}
	}

	static long send(Connection db, String subject, String key, byte[] payload, String headers) throws SQLException {
		return insert(db, "INSERT INTO boxhaul.outgoing (subject, key, payload, headers) VALUES (?, ?, ?, ?::jsonb)",
				subject, key, payload, headers);
	}

	public static void main(String[] args) throws SQLException {
		try (Connection db = DriverManager.getConnection(System.getenv("JDBC_URL"))) {
			db.setAutoCommit(false); // what is not committed is rolled back when db closes
			long order = insert(db, "INSERT INTO orders (customer) VALUES (?)", "Ada");
			byte[] body = ("{\"order\": " + order + "}").getBytes(StandardCharsets.UTF_8);
			long created = send(db, "orders.created", Long.toString(order), body, "{\"Trace\": \"a-1\"}");
			long paid = send(db, "orders.paid", Long.toString(order), body, null);
			db.commit();
			System.out.println(order + " " + created + " " + paid);
		}
	}
}
