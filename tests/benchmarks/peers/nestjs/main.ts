// NestJS on Fastify with TypeORM: controllers, a service, entities, validated DTOs, the JSON log of Fastify.
import "reflect-metadata";
import {
  Body, ConflictException, Controller, Get, Headers, Injectable, Module, NotFoundException, Param, ParseUUIDPipe,
  Patch, Post as HttpPost, PreconditionFailedException, Query, UnprocessableEntityException, ValidationPipe,
} from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { FastifyAdapter, type NestFastifyApplication } from "@nestjs/platform-fastify";
import { InjectDataSource, InjectRepository, TypeOrmModule } from "@nestjs/typeorm";
import { Type } from "class-transformer";
import { IsInt, IsOptional, IsString, IsUUID, Length, Max, Min } from "class-validator";
import pg from "pg";
import {
  Column, CreateDateColumn, DataSource, Entity, LessThan, PrimaryColumn, QueryFailedError, Repository,
  UpdateDateColumn, VersionColumn,
} from "typeorm";
import { v7 } from "uuid";

pg.types.setTypeParser(pg.types.builtins.INT8, Number);

@Entity("users")
class User {
  @PrimaryColumn("uuid") id: string;
  @Column("text") email: string;
  @Column("text", { nullable: true }) full_name: string | null;
  @Column("boolean") is_active: boolean;
  @CreateDateColumn({ type: "timestamptz" }) created_at: Date;
  @UpdateDateColumn({ type: "timestamptz" }) updated_at: Date;
  @VersionColumn({ type: "int8" }) version: number;
}

@Entity("posts")
class Post {
  @PrimaryColumn("uuid") author_id: string;
  @PrimaryColumn("uuid") id: string;
  @Column("text") title: string;
  @Column("text") content: string;
  @Column("text") status: string;
  @Column("timestamptz", { nullable: true }) published_at: Date | null;
  @Column("timestamptz") created_at: Date;
  @Column("timestamptz") updated_at: Date;
  @Column("int8") version: number;
  @Column("tsvector", { select: false }) title_tokens: string;
  @Column("tsvector", { select: false }) text_tokens: string;
}

@Entity("baseline_records")
class IdempotencyRecord {
  @PrimaryColumn("text") key: string;
  @Column("bytea") response: Buffer;
}

class UserChanges {
  @IsString() @Length(1, 200) full_name: string;
}

class NewPost {
  @IsUUID() author_id: string;
  @IsString() @Length(1, 200) title: string;
  @IsString() @Length(1, 2000) content: string;
}

class PostQuery {
  @IsOptional() @IsUUID() author_id?: string;
  @IsOptional() @IsString() q?: string;
  @IsOptional() @IsUUID() cursor?: string;
  @Type(() => Number) @IsInt() @Min(1) @Max(100) limit = 20;
}

@Injectable()
class UserService {
  constructor(
    @InjectRepository(User) private readonly users: Repository<User>,
    @InjectDataSource() private readonly database: DataSource,
  ) {}

  async get(id: string): Promise<User> {
    const user = await this.users.findOneBy({ id });
    if (!user) throw new NotFoundException();
    return user;
  }

  async update(id: string, etag: string, changes: UserChanges): Promise<User> {
    return this.database.transaction(async (manager) => {
      const user = await manager.findOne(User, { where: { id }, lock: { mode: "pessimistic_write" } });
      if (!user) throw new NotFoundException();
      if (etag !== `"${user.version}"`) throw new PreconditionFailedException();
      return manager.save(Object.assign(user, changes));
    });
  }
}

@Injectable()
class PostService {
  constructor(
    @InjectRepository(Post) private readonly posts: Repository<Post>,
    @InjectRepository(IdempotencyRecord) private readonly records: Repository<IdempotencyRecord>,
    @InjectDataSource() private readonly database: DataSource,
  ) {}

  async list({ author_id, q, cursor, limit }: PostQuery): Promise<{ items: Post[]; next_cursor: string | null }> {
    const found = q
      ? await this.posts
          .createQueryBuilder("post")
          .where("post.text_tokens @@ plainto_tsquery('simple', :q)", { q })
          .addSelect("post.title_tokens @@ plainto_tsquery('simple', :q)", "in_title")
          .orderBy("in_title", "DESC")
          .addOrderBy("post.id", "DESC")
          .limit(limit + 1)
          .getMany()
      : await this.posts.find({
          where: { ...(author_id && { author_id }), ...(cursor && { id: LessThan(cursor) }) },
          order: { id: "DESC" },
          take: limit + 1,
        });
    const items = found.slice(0, limit);
    return { items, next_cursor: found.length > limit ? items[limit - 1].id : null };
  }

  async create(body: NewPost, key?: string): Promise<Post> {
    try {
      return await this.database.transaction(async (manager) => {
        const author = await manager.findOneBy(User, { id: body.author_id });
        if (!author) throw new UnprocessableEntityException();
        if (!author.is_active) throw new ConflictException();
        const now = new Date();
        const fields = { id: v7(), status: "draft", published_at: null, created_at: now, updated_at: now, version: 1 };
        const post = manager.create(Post, { ...body, ...fields });
        const tokens = {
          title_tokens: () => "to_tsvector('simple', :title)",
          text_tokens: () => "to_tsvector('simple', :text)",
        };
        await manager
          .createQueryBuilder()
          .insert()
          .into(Post)
          .values({ ...post, ...tokens })
          .setParameters({ title: body.title, text: `${body.title} ${body.content}` })
          .execute();
        if (key) await manager.insert(IdempotencyRecord, { key, response: Buffer.from(JSON.stringify(post)) });
        return post;
      });
    } catch (error) {
      if (!key || !(error instanceof QueryFailedError && error.driverError.code === "23505")) throw error;
      const record = await this.records.findOneByOrFail({ key });
      return JSON.parse(record.response.toString());
    }
  }
}

@Controller()
class ApiController {
  constructor(private readonly users: UserService, private readonly posts: PostService) {}

  @Get("livez")
  livez() {
    return { status: "ok" };
  }

  @Get("api/v1/users/:id")
  getUser(@Param("id", ParseUUIDPipe) id: string) {
    return this.users.get(id);
  }

  @Patch("api/v1/users/:id")
  updateUser(
    @Param("id", ParseUUIDPipe) id: string, @Headers("if-match") etag: string, @Body() changes: UserChanges,
  ) {
    return this.users.update(id, etag, changes);
  }

  @Get("api/v1/posts")
  listPosts(@Query() query: PostQuery) {
    return this.posts.list(query);
  }

  @HttpPost("api/v1/posts")
  createPost(@Body() body: NewPost, @Headers("idempotency-key") key?: string) {
    return this.posts.create(body, key);
  }
}

const entities = [User, Post, IdempotencyRecord];
const database = TypeOrmModule.forRoot({
  type: "postgres",
  entities,
  extra: { connectionString: process.env.DATABASE_DSN, max: Number(process.env.POOL_SIZE) },
});

@Module({
  imports: [database, TypeOrmModule.forFeature(entities)],
  controllers: [ApiController],
  providers: [UserService, PostService],
})
class AppModule {}

const app = await NestFactory.create<NestFastifyApplication>(AppModule, new FastifyAdapter({ logger: true }));
app.useGlobalPipes(new ValidationPipe({ transform: true, whitelist: true }));
await app.listen(Number(process.argv[2]), "127.0.0.1");
