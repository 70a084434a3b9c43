// Sequelize: an order and its messages, in one transaction.
//
//   npm install sequelize pg
//   DATABASE_URL=postgresql://shop@localhost/shop node order_sequelize.js
const { DataTypes, Sequelize } = require('sequelize');

const db = new Sequelize(process.env.DATABASE_URL, { logging: false });
const id = { type: DataTypes.BIGINT, primaryKey: true, autoIncrement: true };

const Order = db.define('Order', { id, customer: DataTypes.TEXT }, { tableName: 'orders', timestamps: false });

// No sync() and no migration: the view is boxhaul's.
const Outgoing = db.define('Outgoing', {
	id,
	subject: { type: DataTypes.TEXT, allowNull: false },
	key: DataTypes.TEXT,
	payload: { type: DataTypes.BLOB, allowNull: false },
	headers: DataTypes.JSONB,
}, { schema: 'boxhaul', tableName: 'outgoing', timestamps: false });

async function main() {
	try {
		const drawn = await db.transaction(async (transaction) => {
			const order = await Order.create({ customer: 'Ada' }, { transaction });
			const payload = Buffer.from(JSON.stringify({ order: Number(order.id) }));
			const messages = await Outgoing.bulkCreate([
				{ subject: 'orders.created', key: order.id, payload, headers: { Trace: 'a-1' } },
				{ subject: 'orders.paid', key: order.id, payload },
			], { transaction });
			return [order.id, ...messages.map((message) => message.id)];
		});
		console.log(...drawn);
	} finally {
		await db.close();
	}
}

main().catch((e) => { console.error(e); process.exit(1); });
