// TypeORM: an order and its messages, in one transaction.
//
//   npm install typeorm pg
//   DATABASE_URL=postgresql://shop@localhost/shop node order_typeorm.js
const { DataSource, EntitySchema } = require('typeorm');

const Order = new EntitySchema({
	name: 'Order', tableName: 'orders',
	columns: { id: { type: 'bigint', primary: true, generated: true }, customer: { type: 'text' } },
});

const Outgoing = new EntitySchema({
	name: 'Outgoing', schema: 'boxhaul', tableName: 'outgoing',
	synchronize: false, // no migration: the view is boxhaul's
	columns: {
		id: { type: 'bigint', primary: true, generated: true },
		subject: { type: 'text' },
		key: { type: 'text', nullable: true },
		payload: { type: 'bytea' },
		headers: { type: 'jsonb', nullable: true },
	},
});

async function main() {
	const db = await new DataSource({ type: 'postgres', url: process.env.DATABASE_URL, entities: [Order, Outgoing] }).initialize();
	try {
		await db.transaction(async (manager) => {
			const order = await manager.save(Order, { customer: 'Ada' });
			const payload = Buffer.from(JSON.stringify({ order: Number(order.id) }));
			const messages = await manager.save(Outgoing, [
				{ subject: 'orders.created', key: order.id, payload, headers: { Trace: 'a-1' } },
				{ subject: 'orders.paid', key: order.id, payload },
			]);
			return [order.id, ...messages.map((message) => message.id)];
		}).then((drawn) => console.log(...drawn));
	} finally {
		await db.destroy();
	}
}

main().catch((e) => { console.error(e); process.exit(1); });
